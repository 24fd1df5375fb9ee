//go:build integration

package clients_test

import (
	"encoding/json"
	"fmt"
	"strings"
)

// An answer is what an upstream says to one request: events whose payloads the client is to show, one by one and in
// order, among events that the client's protocol wants around them.
type answer struct {
	before, payloads, after []event
}

// An event can be said as one of an event stream, or its data alone as one line.
type event struct {
	name, id string
	data     string // one line
}

func (a answer) events() []event {
	return append(append(append([]event{}, a.before...), a.payloads...), a.after...)
}

func asEventStream(e event) string {
	var text string
	if e.id != "" {
		text += "id: " + e.id + "\n"
	}
	if e.name != "" {
		text += "event: " + e.name + "\n"
	}
	return text + "data: " + e.data + "\n\n"
}

func asLine(e event) string { return e.data + "\n" }

// payload is the text of the n-th event, from 1.
func payload(n, size int) string {
	text := fmt.Sprintf("%d;", n)
	return text + strings.Repeat("x", max(0, size-len(text)))
}

// A dialect puts payloads into the words of a protocol. request is the request's body.
type dialect func(payloads []string, request []byte) answer

var dialects = map[string]dialect{
	"plain": func(payloads []string, _ []byte) (a answer) {
		for i, text := range payloads {
			a.payloads = append(a.payloads, event{id: fmt.Sprint(i + 1), data: object("n", i+1, "p", text)})
		}
		return a
	},
	// html is for pages that put an event's data into themselves: their records hold the HTML.
	"htmx": func(payloads []string, _ []byte) answer { return inHTML(payloads, "<i>%s</i>") },
	"turbo": func(payloads []string, _ []byte) answer {
		return inHTML(payloads, `<turbo-stream action="update" target="shown"><template><i>%s</i></template></turbo-stream>`)
	},
	"openai": func(payloads []string, _ []byte) (a answer) {
		chunk := func(delta, finish any) event {
			return event{data: object("id", "chat-1", "object", "chat.completion.chunk", "created", 1, "model", "m", "choices",
				[]any{map[string]any{"index": 0, "delta": delta, "finish_reason": finish}})}
		}
		for _, text := range payloads {
			a.payloads = append(a.payloads, chunk(map[string]any{"role": "assistant", "content": text}, nil))
		}
		a.after = []event{chunk(struct{}{}, "stop")}
		return a
	},
	"anthropic": func(payloads []string, _ []byte) (a answer) {
		say := func(name string, more ...any) event {
			return event{name: name, data: object(append([]any{"type", name}, more...)...)}
		}
		usage := map[string]any{"input_tokens": 1, "output_tokens": 1}
		a.before = []event{
			say("message_start", "message", map[string]any{"id": "m1", "type": "message", "role": "assistant", "model": "m",
				"content": []any{}, "stop_reason": nil, "stop_sequence": nil, "usage": usage}),
			say("content_block_start", "index", 0, "content_block", map[string]any{"type": "text", "text": ""}),
		}
		for _, text := range payloads {
			a.payloads = append(a.payloads, say("content_block_delta", "index", 0, "delta", map[string]any{"type": "text_delta", "text": text}))
		}
		a.after = []event{
			say("content_block_stop", "index", 0),
			say("message_delta", "delta", map[string]any{"stop_reason": "end_turn", "stop_sequence": nil}, "usage", usage),
			say("message_stop"),
		}
		return a
	},
	"ollama": func(payloads []string, _ []byte) (a answer) {
		say := func(text string, done bool) event {
			return event{data: object("model", "m", "created_at", "2026-01-02T15:04:05Z", "message",
				map[string]any{"role": "assistant", "content": text}, "done", done)}
		}
		for _, text := range payloads {
			a.payloads = append(a.payloads, say(text, false))
		}
		a.after = []event{say("", true)}
		return a
	},
	// mcp answers the call of a tool, with a notification for each payload.
	"mcp": func(payloads []string, request []byte) (a answer) {
		var call struct{ ID any }
		_ = json.Unmarshal(request, &call)
		for _, text := range payloads {
			a.payloads = append(a.payloads, event{data: object("jsonrpc", "2.0", "method", "notifications/message", "params",
				map[string]any{"level": "info", "data": text})})
		}
		a.after = []event{{data: object("jsonrpc", "2.0", "id", call.ID, "result",
			map[string]any{"content": []any{map[string]any{"type": "text", "text": "done"}}})}}
		return a
	},
}

func inHTML(payloads []string, html string) (a answer) {
	for i, text := range payloads {
		a.payloads = append(a.payloads, event{id: fmt.Sprint(i + 1), data: fmt.Sprintf(html, text)})
	}
	return a
}

// object is the JSON of an object with these members, a name and a value in turn.
func object(members ...any) string {
	o := make(map[string]any)
	for i := 0; i < len(members); i += 2 {
		o[members[i].(string)] = members[i+1]
	}
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(o)
	return strings.TrimSuffix(text.String(), "\n")
}
