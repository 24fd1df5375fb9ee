# Caddy with sse. The image runs as a user without rights, and has a shell and the usual commands for `backend exec`.
#
#     docker build -t caddy-sse .
#     docker run -p 8080:8080 -v ./Caddyfile:/etc/caddy/Caddyfile:ro caddy-sse

FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -tags nobadger,nomysql,nopgx \
    -ldflags "-s -w -X github.com/caddyserver/caddy/v2.CustomVersion=caddy-sse-${VERSION}" -o /caddy ./cmd/caddy

FROM alpine:3.22
RUN apk add --no-cache ca-certificates tzdata \
    && adduser -D -H -u 1000 caddy \
    && install -d -o caddy -g caddy /config /data
COPY --from=build /caddy /usr/bin/caddy
COPY deploy/Caddyfile /etc/caddy/Caddyfile

# Certificates, and the key that makes ids of `backend file` valid after a restart, are in /data.
ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
VOLUME ["/config", "/data"]
USER 1000:1000
EXPOSE 8080

# The admin API answers when a config runs. A config with `admin off` needs a health check of its own.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:2019/sse/sources"]

# A stop takes as long as `drain` lets it: docker stop --time must be longer.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
