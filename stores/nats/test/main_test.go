// Package nats_test tests the store with real servers. It is a module of its own, so that nobody else needs what nats-server
// needs.
package nats_test

import (
	"fmt"
	"os"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"
)

// runAs is the variable that makes this program a server. Its value is the server's config file.
const runAs = "SSE_TEST_NATS_SERVER"

func TestMain(m *testing.M) {
	if file := os.Getenv(runAs); file != "" {
		serve(file)
		return
	}
	goleak.VerifyTestMain(m)
}

// serve runs a server, which can be killed as any other process.
func serve(file string) {
	options, err := natsserver.ProcessConfigFile(file)
	if err == nil {
		var s *natsserver.Server
		if s, err = natsserver.NewServer(options); err == nil {
			s.ConfigureLogger()
			if err = natsserver.Run(s); err == nil {
				s.WaitForShutdown()
				return
			}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
