package failure

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const secret = "hunter2"

func TestErrorsAreShownWithoutURLOrPlaceInTheCode(t *testing.T) {
	cause := errors.New("connection refused")
	asked := &url.Error{Op: "Get", URL: "https://user:" + secret + "@host/?token=" + secret, Err: cause}
	for _, err := range []error{
		cause, asked, fmt.Errorf("asking the upstream: %w", asked), caddyhttp.Error(http.StatusBadGateway, asked),
	} {
		if shown := Plain(err).Error(); shown != cause.Error() {
			t.Errorf("%q is shown as %q", err, shown)
		}
	}
	if shown := Plain(caddyhttp.Error(http.StatusBadGateway, nil)).Error(); shown == "" {
		t.Error("an error without a cause is shown as nothing")
	}
}
