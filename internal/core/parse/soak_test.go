package parse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestSoakEachLineIsParsedInBoundedMemory gives each syntax lines as its recipe has them: one that does not fit now and
// then, and one that is much longer than the others. With SSE_SOAK=1 there are a million of each.
func TestSoakEachLineIsParsedInBoundedMemory(t *testing.T) {
	lines := 20_000
	if os.Getenv("SSE_SOAK") == "1" {
		lines = 1_000_000
	}
	const (
		every    = 1000     // lines to one that does not fit and one that is long
		long     = 64 << 10 // the length of the long ones
		mostHeld = 2 << 20  // memory at any time, however many lines there are
	)
	padding := strings.Repeat("x", long)
	nginx := `^(?P<addr>\S+) \S+ (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<request>[^"]*)" (?P<status>\d{3}) (?P<bytes>\d+) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)"$`
	sentence := `^[!$](?P<talker>[A-Z]{2})(?P<type>[A-Z]{3}),(?P<count>\d*),(?P<number>\d*),(?P<message>\d*),(?P<channel>[AB12]?),(?P<payload>[^,*]*),(?P<fill>\d)[*](?P<checksum>[0-9A-F]{2})$`
	for _, c := range []struct {
		name  string
		spec  Spec
		field string // has the number
		line  string // with the number and the padding
		unfit string
	}{
		{"dump1090", Spec{Syntax: CSV, Columns: strings.Fields("kind type - - hex - - - - - callsign altitude speed track lat lon climb squawk alert emergency spi ground")},
			"hex", `MSG,3,1,1,%d,1,2026/11/23,02:02:40.618,2026/11/23,02:02:40.618,%s,38000,,,52.25720,3.91937,,,,,,0`, "MSG,3"},
		{"AIS", Spec{Syntax: Regexp, Pattern: sentence}, "message", `!AIVDM,1,1,%d,A,13u?etPv2;0n:dDPwUM1U1Cb069D%s,0*24`, "$GPGGA,1*00"},
		{"nginx", Spec{Syntax: Regexp, Pattern: nginx},
			"bytes", `192.0.2.7 - - [25/Nov/2026:10:15:01 +0000] "GET /wp-login.php HTTP/1.1" 404 %d "-" "curl/8.14.1%s"`, `192.0.2.7 - - "`},
		{"logfmt", Spec{Syntax: Logfmt}, "n", `ts=2026-11-25T15:07:07.134Z caller=main.go:513 level=info n=%d msg="said \"so\" %s"`, `level="info`},
		{"RFC 5424", Spec{Syntax: Syslog}, "procid", `<165>1 2026-11-25T15:07:23.700754+00:00 host app %d - [timeQuality tzKnown="1" isSynced="0"] said %s`, "<165>1 never"},
		{"RFC 3164", Spec{Syntax: Syslog}, "procid", `<11>Nov 25 15:07:23 host app[%d]: said %s`, "<11>said"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := mustNew(t, c.spec)
			var line, out, want []byte
			var before, now runtime.MemStats
			var most uint64
			measure := func(into *runtime.MemStats) {
				runtime.GC()
				runtime.ReadMemStats(into)
			}
			measure(&before)
			began := time.Now()
			for n := range lines {
				text := ""
				if n%every == 0 {
					text = padding
					if _, fits := p.AppendObject(nil, []byte(c.unfit)); fits {
						t.Fatalf("%q fits", c.unfit)
					}
				}
				var fits bool
				line = fmt.Appendf(line[:0], c.line, n, text)
				if out, fits = p.AppendObject(out[:0], line); !fits {
					t.Fatalf("line %d does not fit", n)
				}
				want = fmt.Appendf(want[:0], `"%s":"%d"`, c.field, n)
				if !bytes.Contains(out, want) || n%every == 0 && (!json.Valid(out) || !bytes.Contains(out, []byte(text))) {
					t.Fatalf("line %d became %.500s", n, out)
				}
				if n%(lines/10) == 0 {
					measure(&now)
					most = max(most, now.HeapAlloc)
				}
			}
			held := int64(most) - int64(before.HeapAlloc)
			if held > mostHeld {
				t.Errorf("%d bytes are held, want %d at most", held, mostHeld)
			}
			t.Logf("%d lines in %v, %d KiB held", lines, time.Since(began).Round(time.Millisecond), held>>10)
		})
	}
}
