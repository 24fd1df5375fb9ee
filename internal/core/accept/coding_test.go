package accept

import (
	"testing"
)

func TestCodingIsTheOneThatTheClientPrefers(t *testing.T) {
	both := []string{"zstd", "gzip"}
	for _, test := range []struct {
		header  []string
		offered []string
		want    string
	}{
		{nil, both, "identity"},
		{[]string{""}, both, "identity"},
		{[]string{"gzip"}, both, "gzip"},
		{[]string{"zstd"}, both, "zstd"},
		{[]string{"gzip, deflate, br, zstd"}, both, "zstd"},
		{[]string{"gzip, deflate, br, zstd"}, []string{"gzip", "zstd"}, "gzip"},
		{[]string{"gzip, deflate, br"}, both, "gzip"},
		{[]string{"br"}, both, "identity"},
		{[]string{"zstd"}, []string{"gzip"}, "identity"},
		{[]string{"GZip"}, both, "gzip"},
		{[]string{"x-gzip"}, both, "gzip"},

		// weights
		{[]string{"gzip;q=1.0, zstd;q=0.9"}, both, "gzip"},
		{[]string{"gzip;q=0.5, zstd;q=0.500"}, both, "zstd"},
		{[]string{"gzip;q=0.001"}, both, "gzip"},
		{[]string{"gzip ; q=0.5 , zstd\t;\tQ=0.25"}, both, "gzip"},
		{[]string{"zstd;q=0, gzip"}, both, "gzip"},
		{[]string{"zstd;q=0, gzip;q=0.000"}, both, "identity"},
		{[]string{"zstd;q=0.2, zstd;q=0.8, gzip;q=0.5"}, both, "zstd"},

		// several lines are one list
		{[]string{"zstd;q=0.5", "gzip"}, both, "gzip"},
		{[]string{"", "gzip"}, both, "gzip"},

		// the wildcard stands for what is not listed
		{[]string{"*"}, both, "zstd"},
		{[]string{"*"}, []string{"gzip"}, "gzip"},
		{[]string{"*;q=0"}, both, "identity"},
		{[]string{"zstd;q=0, *"}, both, "gzip"},
		{[]string{"*, zstd;q=0"}, both, "gzip"},
		{[]string{"gzip, *;q=0"}, both, "gzip"},
		{[]string{"gzip;q=0.3, *;q=0.7"}, both, "zstd"},

		// identity
		{[]string{"identity"}, both, "identity"},
		{[]string{"identity;q=0"}, both, "identity"},
		{[]string{"identity;q=0, gzip;q=0"}, both, "identity"},
		{[]string{"identity;q=0, gzip;q=0.1"}, both, "gzip"},
		{[]string{"identity, gzip;q=0.5"}, both, "identity"},
		{[]string{"identity;q=0.5, gzip"}, both, "gzip"},
		{[]string{"gzip, identity"}, both, "gzip"},
		{[]string{"identity;q=0.5, *;q=0.1"}, both, "identity"},

		// what is malformed is ignored, and spoils nothing
		{[]string{"gzip;q=2, zstd"}, both, "zstd"},
		{[]string{"zstd;q=, gzip"}, both, "gzip"},
		{[]string{"zstd;q=0.1234"}, both, "identity"},
		{[]string{"zstd;level=3, gzip;q=0.1"}, both, "gzip"},
		{[]string{"zstd gzip"}, both, "identity"},
		{[]string{";q=1, ,,\x00, =, gzip"}, both, "gzip"},
		{[]string{`zstd;q="1"`}, both, "identity"},
		{[]string{"gzipped, zstandard"}, both, "identity"},
	} {
		if got := Coding(test.header, test.offered); got != test.want {
			t.Errorf("%q of %q: %s, want %s", test.header, test.offered, got, test.want)
		}
	}
}
