package argument

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// ParseAddress parses the address of one socket. Its network must be one of networks. choice names these in the error.
func ParseAddress(text, choice string, networks ...string) (caddy.NetworkAddress, error) {
	if strings.Contains(text, "://") { // a URL may hold a password, so none of it is repeated
		return caddy.NetworkAddress{}, errors.New("must be a network address such as host:port, not a URL: backend http takes URLs")
	}
	address, err := caddy.ParseNetworkAddress(text)
	if err != nil {
		return address, err
	}
	switch {
	case !slices.Contains(networks, address.Network):
		return address, fmt.Errorf("network of %q must be %s, not %s", text, choice, address.Network)
	case !address.IsUnixNetwork() && (address.StartPort == 0 || address.PortRangeSize() != 1):
		return address, fmt.Errorf("%q must have one port", text)
	case address.IsUnixNetwork() && address.Host == "":
		return address, fmt.Errorf("%q must have the path of a socket", text)
	}
	return address, nil
}
