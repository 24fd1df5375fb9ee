package sse

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/internal/follow"
)

func init() {
	caddy.RegisterModule(new(FileBackend))
}

// FileBackend follows a file, such as a log, through rotation and truncation, and waits for one that is not there
// yet. Its events have ids that name the file and the offset, so that a client resumes exactly where it was: after
// a restart too, and in a file that has been rotated meanwhile. Where a request has a say in the path, its rotated files
// are not looked for, as they may be another's by their name.
//
// Only this server can make these ids: they carry a digest, whose key is in Caddy's storage. So a client that has none
// begins where from says. But from end hides nothing for good: with an id, be it one that somebody else has been given,
// a client gets all that the file, or a rotated one, has after it.
type FileBackend struct {
	// The file's path. It takes placeholders; where those of a request lead outside of the folder that stands
	// before the first of them, the response is 404.
	Path string `json:"path"`

	// Where a client begins that has not been here before: start, end, or last. Default: end.
	From string `json:"from,omitempty"`

	// How many lines it gets first, if from is last.
	Last int `json:"last,omitempty"`

	fixed *mapping.Template // the path before the first placeholder of a request; nil if there is none
	path  *mapping.Template // the rest
	from  follow.Start
	key   follow.Key // of the ids
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

// Provision compiles the options.
func (b *FileBackend) Provision(ctx caddy.Context) error {
	directive.SetDefault(&b.From, fromEnd)
	b.key = fileKey.get(ctx)
	if err := b.Compile(); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	return nil
}

func (b *FileBackend) Compile() error {
	switch b.From {
	case fromStart:
		b.from = follow.FromStart
	case fromEnd, "":
		b.from = follow.FromEnd
	case fromLast:
		b.from = follow.Last(b.Last)
	default:
		return fmt.Errorf("from must be %s, %s or %s, not %q", fromStart, fromEnd, fromLast, b.From)
	}
	if (b.From == fromLast) != (b.Last != 0) || b.Last < 0 {
		return fmt.Errorf("last must be a number of lines above zero if from is %s, and not be there otherwise", fromLast)
	}
	return b.compilePath()
}

// compilePath divides the path into what is fixed and what requests have a say in.
func (b *FileBackend) compilePath() (err error) {
	if b.path, err = mapping.ParseTemplate(b.Path); err != nil {
		return err
	}
	if b.Path == "" || b.path.UsesRecord() {
		return fmt.Errorf("%q is not a path: a record has no say in it", b.Path)
	}
	names := b.path.Placeholders()
	first := slices.IndexFunc(names, func(name string) bool { return mapping.DependOnRequest([]string{name}) })
	if first < 0 {
		return nil
	}
	fixed, _, _ := strings.Cut(b.Path, "{"+names[first]+"}")
	if first == 0 && filepath.Dir(fixed+".") == "." {
		return fmt.Errorf("%s must begin with a folder that does not depend on the request", b.Path)
	}
	if b.fixed, err = mapping.ParseTemplate(fixed); err != nil {
		return err
	}
	b.path, err = mapping.ParseTemplate(b.Path[len(fixed):])
	return err
}

// Bind expands the path for a request.
func (b *FileBackend) Bind(r *http.Request) (Upstream, error) {
	find := argument.Lookup(r)
	expand := func(t *mapping.Template) string { return string(t.Bind(find).Append(nil, new(mapping.Document))) }
	path := expand(b.path)
	if b.fixed != nil {
		var err error
		if path, err = within(expand(b.fixed), path); err != nil {
			return nil, caddyhttp.Error(http.StatusNotFound, err)
		}
	}
	return &fileUpstream{path: path, backend: b}, nil
}

// within is a path of which a request has chosen all but the fixed beginning, if it stays in the folder that this
// names. A ".." is refused even where it seems to stay there: after a symbolic link it would lead elsewhere.
func within(fixed, chosen string) (string, error) {
	folder, name := filepath.Split(fixed)
	name = strings.TrimLeft(name+chosen, "/") // as {path} begins with one
	if folder == "" || !filepath.IsLocal(name) || hasDotDot(name) || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("path %q leads outside of %s", fixed+chosen, folder)
	}
	return filepath.Join(folder, name), nil
}

func hasDotDot(path string) bool {
	return slices.Contains(strings.Split(filepath.ToSlash(path), "/"), "..")
}

// fileUpstream is one follower's file.
type fileUpstream struct {
	path    string
	backend *FileBackend
}

func (u *fileUpstream) Key() string {
	return Key("file", u.path, u.backend.From, strconv.Itoa(u.backend.Last))
}

func (u *fileUpstream) CanResume(lastID string) bool {
	_, ok := follow.NewIDs(u.backend.key, u.path).Parse(lastID)
	return ok
}

func (u *fileUpstream) Stream(ctx context.Context, lastID string, sink Sink) error {
	options := follow.Options{Path: u.path, From: u.backend.from, Alone: u.backend.fixed != nil}
	ids := follow.NewIDs(u.backend.key, u.path)
	position, resume := ids.Parse(lastID)
	if resume {
		options.Resume = &position
	}
	follower, err := follow.Open(ctx, options)
	if err != nil && u.backend.fixed != nil {
		return caddyhttp.Error(http.StatusNotFound, err) // such as a folder: not the server's fault
	}
	if err != nil {
		return err
	}
	defer follower.Close()
	input, err := sink.Open("")
	if err != nil {
		return err
	}
	if lastID != "" && !resume {
		if err := input.Gap(); err != nil { // what came after that event, nobody knows
			return err
		}
	}

	var at follow.Position // of the next byte
	var generation string  // that is being written, or whose last record ends
	var last []byte        // what was written last
	lastEnd := int64(0)    // where that ends
	var lastByte byte
	appendID := func(dst []byte, offset int64) []byte {
		end := lastByte
		if i := int64(len(last)) - (lastEnd - offset) - 1; i >= 0 && i < int64(len(last)) {
			end = last[i]
		}
		return ids.Append(dst, follow.Position{Generation: generation, Offset: offset, InLine: end != '\n'})
	}
	for buf := make([]byte, 64<<10); ; {
		if len(last) > 0 {
			lastByte, last = last[len(last)-1], nil // its buffer is written to now
		}
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
			generation = here.Generation
			input.At(appendID, here.Offset)
			at = here
		}
		last, lastEnd = chunk.Data, chunk.Offset+int64(len(chunk.Data))
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
	path, err := directive.OneArg(d)
	if err != nil {
		return err
	}
	b.Path = path
	seen := make(directive.Seen)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.Add(d); err != nil {
			return err
		}
		if d.Val() != "from" {
			return d.Errf("unrecognized subdirective %q of backend file", d.Val())
		}
		given, err := directive.Args(d, 1, 2)
		if err != nil {
			return err
		}
		b.From = given[0]
		switch {
		case b.From == fromLast:
			if b.Last, err = directive.ParseCount(d, "from last", given[1], 1); err != nil {
				return err
			}
		case b.From != fromStart && b.From != fromEnd:
			return d.Errf("from must be %s, %s or %s <n>, not %q", fromStart, fromEnd, fromLast, b.From)
		case given[1] != "":
			return d.ArgErr()
		}
	}
	return directive.Compiled(d, b.Compile)
}

var (
	_ Backend               = (*FileBackend)(nil)
	_ Resumer               = (*fileUpstream)(nil)
	_ caddy.Provisioner     = (*FileBackend)(nil)
	_ caddyfile.Unmarshaler = (*FileBackend)(nil)
)
