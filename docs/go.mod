// A module of its own, so that builds of caddy-sse do not download its documentation. It has no code.
module github.com/seed-4dedbcea/caddy-sse/docs

go 1.26.0
