//go:build integration

package servers_test

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestEventsPassTheProxiesOfTheDocumentationAtOnce puts nginx and HAProxy in front of Caddy, with the configs of
// docs/behind-a-proxy.md as they stand there, but for the addresses.
func TestEventsPassTheProxiesOfTheDocumentationAtOnce(t *testing.T) {
	page, err := os.ReadFile("../../docs/behind-a-proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	configs := make(map[string]string)
	for _, m := range regexp.MustCompile("(?s)```(nginx|haproxy)\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		if configs[m[1]] != "" {
			t.Fatalf("there are two configs of %s", m[1])
		}
		configs[m[1]] = m[2]
	}

	push := freeAddress(t)
	caddy := freeAddress(t)
	startCommand(t, caddyCommand(t, "run", "--config", write(t, "Caddyfile", fmt.Sprintf(
		"{\nadmin off\npersist_config off\n}\nhttp://:%s {\nbind 127.0.0.1\nsse {\nbackend listen %s\nheartbeat 100ms\n}\n}\n", portOf(caddy), push)))).waitListening(t, caddy)

	for name, run := range map[string]func(t *testing.T, config, front string) *process{
		"nginx": func(t *testing.T, config, front string) *process {
			dir := t.TempDir()
			file := write(t, "nginx.conf", fmt.Sprintf(`
				daemon off; master_process off; pid %[1]s/pid; error_log stderr;
				events {}
				http {
					access_log off;
					client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
					upstream caddy { server %[2]s; keepalive 10; }
					server {
						listen %[3]s;
						%[4]s
					}
				}`, dir, caddy, front, config))
			return start(t, "nginx", "-p", dir, "-c", file)
		},
		"haproxy": func(t *testing.T, config, front string) *process {
			config = replaceOnce(t, config, "bind :8080", "bind "+front)
			config = replaceOnce(t, config, "127.0.0.1:8081", caddy)
			return start(t, "haproxy", "-db", "-f", write(t, "haproxy.cfg", config))
		},
	} {
		t.Run(name, func(t *testing.T) {
			front := freeAddress(t)
			run(t, configs[name], front).waitListening(t, front)
			s := open(t, "http://"+front+"/")
			s.WaitComments(1) // before there is any record
			sender, err := net.Dial("tcp", push)
			if err != nil {
				t.Fatal(err)
			}
			defer sender.Close()
			for n := 1; n <= 3; n++ {
				record := fmt.Sprintf("%s %d", name, n)
				if _, err := fmt.Fprintln(sender, record); err != nil {
					t.Fatal(err)
				}
				if e := s.WaitEvents(n)[n-1]; e.Data != record { // before the next one is sent
					t.Errorf("event %d is %+v", n, e)
				}
			}
			s.WaitComments(len(s.Comments()) + 3) // heartbeats
		})
	}
}

func replaceOnce(t *testing.T, text, old, new string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%s is there %d times in\n%s", old, strings.Count(text, old), text)
	}
	return strings.Replace(text, old, new, 1)
}
