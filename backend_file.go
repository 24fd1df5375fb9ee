package sse

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/seed-4dedbcea/caddy-sse/internal/follow"
	"github.com/seed-4dedbcea/caddy-sse/internal/mapping"
)

func init() {
	caddy.RegisterModule(new(FileBackend))
}

// FileBackend follows a file, such as a log, through rotation and truncation, and waits for one that is not there
// yet. Its events have ids that name the file and the offset, so that a client resumes exactly where it was: after
// a restart too, and in a file that has been rotated meanwhile.
type FileBackend struct {
	// The file's path. It takes placeholders; where those of a request lead outside of the folder that stands
	// before the first of them, the response is 404.
	Path string `json:"path"`

	// Where a client begins that has not been here before: start, end, or last. Default: end.
	From string `json:"from,omitempty"`

	// How many lines it gets first, if from is last.
	Last int `json:"last,omitempty"`

	path   *mapping.Template
	folder string // that the file has to be in; empty if no request has a say in the path
	from   follow.Start
}

// The values of FileBackend.From.
const (
	fromStart = "start"
	fromEnd   = "end"
	fromLast  = "last"
)

// CaddyModule returns the Caddy module information.
func (*FileBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backendNamespace + ".file", New: func() caddy.Module { return new(FileBackend) }}
}

// Provision compiles the path and finds its fixed folder.
func (b *FileBackend) Provision(caddy.Context) error {
	global := caddy.NewReplacer()
	path, err := mapping.ParseTemplate(b.Path)
	if err != nil {
		return fmt.Errorf("file: %w", err)
	}
	if b.Path == "" || path.UsesRecord() {
		return fmt.Errorf("file: %q is not a path: a record has no say in it", b.Path)
	}
	for _, name := range path.Placeholders() {
		if !dependsOnRequest([]string{name}) {
			continue
		}
		before, _, _ := strings.Cut(b.Path, "{"+name+"}")
		folder, _ := filepath.Split(global.ReplaceKnown(before, ""))
		if folder == "" {
			return fmt.Errorf("file: %s must begin with a folder that does not depend on the request", b.Path)
		}
		if b.folder, err = filepath.Abs(folder); err != nil {
			return fmt.Errorf("file: %w", err)
		}
		break
	}
	b.path = path

	setDefault(&b.From, fromEnd)
	switch b.From {
	case fromStart:
		b.from = follow.FromStart
	case fromEnd:
		b.from = follow.FromEnd
	case fromLast:
		b.from = follow.Last(b.Last)
	default:
		return fmt.Errorf("file: from must be %s, %s or %s, not %q", fromStart, fromEnd, fromLast, b.From)
	}
	return nil
}

// Bind expands the path for a request.
func (b *FileBackend) Bind(r *http.Request) (Upstream, error) {
	path := string(b.path.Bind(lookup(r)).Append(nil, &mapping.Record{}))
	if b.folder != "" {
		absolute, err := filepath.Abs(path)
		if err != nil || !strings.HasPrefix(absolute, strings.TrimSuffix(b.folder, "/")+"/") || strings.ContainsRune(path, 0) {
			return nil, caddyhttp.Error(http.StatusNotFound, fmt.Errorf("path leads outside of %s", b.folder))
		}
	}
	return &fileUpstream{path: path, from: b.from, backend: b}, nil
}

// fileUpstream is one follower's file.
type fileUpstream struct {
	path    string
	from    follow.Start
	backend *FileBackend
}

func (u *fileUpstream) Key() string {
	return Key("file", u.path, u.backend.From, strconv.Itoa(u.backend.Last))
}

func (u *fileUpstream) CanResume(lastID string) bool {
	_, ok := follow.ParsePosition(lastID)
	return ok
}

func (u *fileUpstream) Stream(ctx context.Context, lastID string, sink Sink) error {
	options := follow.Options{Path: u.path, From: u.from}
	position, resume := follow.ParsePosition(lastID)
	if resume {
		options.Resume = &position
	}
	follower := follow.Open(options)
	defer follower.Close()
	input, err := sink.Open("")
	if err != nil {
		return err
	}

	var at follow.Position
	for buf := make([]byte, 64<<10); ; {
		chunk, err := follower.Next(ctx, buf)
		if err != nil {
			return err
		}
		if chunk.NewFile {
			// What the old file's writer left unfinished is all there will be, unless it was cut off.
			if err := input.End(!chunk.Truncated); err != nil {
				return err
			}
		}
		if chunk.Gap {
			if err := input.Gap(); err != nil {
				return err
			}
		}
		if here := (follow.Position{Generation: chunk.Generation, Offset: chunk.Offset}); here != at && chunk.Generation != "" {
			input.At(here.Generation, here.Offset)
			at = here
		}
		if _, err := input.Write(chunk.Data); err != nil {
			return err
		}
		at.Offset += int64(len(chunk.Data))
	}
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	backend file <path> {
//	    from start | end | last <n>
//	}
func (b *FileBackend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	path, err := oneArg(d)
	if err != nil {
		return err
	}
	b.Path = path
	seen := make(seenOptions)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.add(d); err != nil {
			return err
		}
		if d.Val() != "from" {
			return d.Errf("unrecognized subdirective %q of backend file", d.Val())
		}
		given, err := args(d, 1, 2)
		if err != nil {
			return err
		}
		b.From = given[0]
		switch {
		case b.From == fromLast:
			if b.Last, err = count(d, "from last", given[1], 1); err != nil {
				return err
			}
		case b.From != fromStart && b.From != fromEnd:
			return d.Errf("from must be %s, %s or %s <n>, not %q", fromStart, fromEnd, fromLast, b.From)
		case given[1] != "":
			return d.ArgErr()
		}
	}
	// Said with file and line, where Provision could only say it without.
	if err := (&FileBackend{Path: b.Path}).Provision(caddy.Context{}); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

var (
	_ Backend               = (*FileBackend)(nil)
	_ Resumer               = (*fileUpstream)(nil)
	_ caddy.Provisioner     = (*FileBackend)(nil)
	_ caddyfile.Unmarshaler = (*FileBackend)(nil)
)
