<?php
for ($n = 1; ; $n++) {
    echo json_encode(['n' => $n, 'memory' => memory_get_usage()]), "\n";
    usleep(200_000);
}
