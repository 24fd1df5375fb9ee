// A module of its own, so that builds of caddy-sse do not download it. It has no Go code.
module github.com/seed-4dedbcea/caddy-sse/test/clients/node

go 1.26.0
