"""A sensor: a line of JSON five times a second."""

import itertools
import json
import math
import os
import time

for n in itertools.count(1):
    celsius = round(21 + 4 * math.sin(n / 10), 2)
    kind = "alarm" if celsius > 24.5 else "reading"
    print(json.dumps({"type": kind, "n": n, "sensor": os.environ.get("SENSOR", "?"), "celsius": celsius}))
    time.sleep(0.2)
