package sse_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2"
)

func TestTheReferencesDefaultsAreThoseOfTheCode(t *testing.T) {
	checked := 0
	check := func(what, documented string, module any, fields []string) {
		var values []any
		for _, field := range fields {
			if value := valueOf(reflect.ValueOf(module), strings.Split(field, ".")); value != nil {
				values = append(values, value)
			}
		}
		if len(values) == 0 { // the default is not a value of the option
			return
		}
		checked++
		words := strings.Fields(strings.Trim(documented, "`"))
		if !slices.EqualFunc(words, values, func(word string, value any) bool {
			switch value := value.(type) {
			case caddy.Duration:
				documented, err := caddy.ParseDuration(word)
				return err == nil && documented == time.Duration(value)
			case int64:
				documented, err := humanize.ParseBytes(word)
				return err == nil && int64(documented) == value
			}
			return word == fmt.Sprint(value)
		}) {
			t.Errorf("%s: the page's default is %s, the code's %v", what, documented, values)
		}
	}
	all := entries(t)
	handler := provisioned(t, "http.handlers.sse", `{"share":{}}`)
	for heading, e := range all {
		// keep goes by linger, and the key of clients has a shorter name in a Caddyfile.
		if !isModule(heading) && !slices.Contains([]string{"share", "keep", "max_streams_per_client"}, heading) {
			check(heading, e.defaults, handler, e.fields)
		}
	}
	for name, config := range map[string]string{"dial": `{"address":"localhost:1"}`, "exec": `{"command":["true"]}`} {
		module := provisioned(t, "http.sse.backends."+name, config)
		for _, row := range all["backend "+name].rows {
			if row[2] != "required" {
				check(name+" "+row[1], row[2], module, []string{strings.Trim(row[3], "`")})
			}
		}
	}
	if checked < 14 {
		t.Errorf("only %d defaults were compared", checked)
	}
}

func provisioned(t *testing.T, id, config string) any {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	module, err := ctx.LoadModuleByID(id, json.RawMessage(config))
	if err != nil {
		t.Fatal(err)
	}
	return module
}

// valueOf is the value of a field by its name in JSON, or nil if it is the zero of its type, or no simple value.
func valueOf(value reflect.Value, path []string) any {
	value = reflect.Indirect(value)
	if value.Kind() != reflect.Struct {
		return nil
	}
	for i := range value.NumField() {
		if name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ","); name != path[0] {
			continue
		}
		field := value.Field(i)
		if len(path) > 1 {
			return valueOf(field, path[1:])
		}
		switch field.Interface().(type) {
		case caddy.Duration, int64, int, string:
			if !field.IsZero() {
				return field.Interface()
			}
		}
	}
	return nil
}
