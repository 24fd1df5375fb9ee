"""A Quart app under hypercorn: each client gets an upstream connection of its
own, whose NDJSON lines it receives as Server-Sent Events.

Usage: python3 proxy.py <listen port> <upstream TCP port>
"""
import asyncio
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart, make_response

port, upstream_port = map(int, sys.argv[1:])
app = Quart(__name__)


@app.get("/")
async def events():
    async def frames():
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream_port, limit=1 << 20)
        try:
            yield b": open\n\n"
            while line := await reader.readline():
                yield b"data: " + line + b"\n"
        finally:
            writer.close()

    response = await make_response(
        frames(), {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    )
    response.timeout = None
    return response


config = Config()
config.bind = [f"127.0.0.1:{port}"]
config.backlog = 4096
asyncio.run(serve(app, config))
