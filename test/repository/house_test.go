package repository_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// Limits that keep the code readable. A test file may be longer than mostLines.
const (
	mostRootFiles = 12
	mostLines     = 400
	mostFields    = 12
)

// largeTypes are the types with more than mostFields fields, and the reason why they are not divided.
var largeTypes = map[string]string{}

// TestTheCodeStaysReadable limits the number of files in the root package, the length of a file, and the fields of a type.
// Options do not count as fields: those with a name in JSON, and those of a type that holds a configuration.
func TestTheCodeStaysReadable(t *testing.T) {
	rootFiles, files := 0, 0
	large := make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		files++
		if !strings.Contains(name, "/") {
			rootFiles++
		}
		text := read(t, name)
		if n := bytes.Count(text, []byte("\n")); n > mostLines {
			t.Errorf("%s has %d lines: divide it", name, n)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			spec, ok := node.(*ast.TypeSpec)
			if !ok {
				return true
			}
			structure, ok := spec.Type.(*ast.StructType)
			if !ok || isConfiguration(spec.Name.Name) {
				return true
			}
			if n := fieldsOf(structure); n > mostFields {
				typeName := filepath.ToSlash(filepath.Dir(name)) + "." + spec.Name.Name
				if large[typeName] = true; largeTypes[typeName] == "" {
					t.Errorf("%s: type %s has %d fields: divide it, or embed a type", name, spec.Name.Name, n)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Fatalf("only %d files were found", files)
	}
	if rootFiles > mostRootFiles {
		t.Errorf("the root package has %d files: move some to a package", rootFiles)
	}
	for typeName := range largeTypes {
		if !large[typeName] {
			t.Errorf("%s is no longer large: remove it from largeTypes", typeName)
		}
	}
}

func isConfiguration(typeName string) bool {
	return strings.HasSuffix(strings.ToLower(typeName), "config") || strings.HasSuffix(strings.ToLower(typeName), "options")
}

// fieldsOf counts the fields that are not options. An embedded type counts as one field.
func fieldsOf(structure *ast.StructType) (n int) {
	for _, field := range structure.Fields.List {
		if field.Tag == nil || !strings.Contains(field.Tag.Value, "json:") {
			n += max(len(field.Names), 1)
		}
	}
	return n
}
