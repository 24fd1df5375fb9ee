//go:build integration

package clients_test

// A client is a row of the matrix.
type client struct {
	title   string
	library string // the package of npm or module of Go whose version is fixed; none for a browser's own
	program string // that drives it
	adapter string // its name there
	dialect string
	resumes bool // it reads a stream by GET and may come back for the rest; others read one answer to a POST
}

const (
	node  = "node"  // clients for models
	pages = "pages" // a Node of its own for EventSources and browsers, so that they do not wait for the models' clients
	goes  = "go"
)

var clients = []client{
	{"OpenAI, Node", "openai", node, "openai", "openai", false},
	{"OpenAI, Node, old", "openai-old", node, "openai-old", "openai", false},
	{"OpenAI, Go", "github.com/openai/openai-go/v3", goes, "openai", "openai", false},
	{"OpenAI, Go, old", "github.com/openai/openai-go/v2", goes, "openai-old", "openai", false},
	{"Anthropic, Node", "@anthropic-ai/sdk", node, "anthropic", "anthropic", false},
	{"LangChain, Node", "@langchain/openai", node, "langchain", "openai", false},
	{"AI SDK, Node", "ai", node, "ai", "openai", false},
	{"Ollama, Node", "ollama", node, "ollama", "ollama", false},
	{"MCP, Node", "@modelcontextprotocol/sdk", node, "mcp", "mcp", false},
	{"MCP, Go", "github.com/modelcontextprotocol/go-sdk", goes, "mcp", "mcp", false},
	{"fetch-event-source, POST", "@microsoft/fetch-event-source", pages, "fetch-event-source-post", "plain", false},
	{"sse.js, POST", "sse.js", pages, "sse.js-post", "plain", false},
	{"EventSource, Chromium", "", pages, "chromium", "plain", true},
	{"EventSource, Firefox", "", pages, "firefox", "plain", true},
	{"eventsource, Node", "eventsource", pages, "eventsource", "plain", true},
	{"EventSource, undici", "undici", pages, "undici", "plain", true},
	{"fetch-event-source", "@microsoft/fetch-event-source", pages, "fetch-event-source", "plain", true},
	{"sse.js, autoReconnect", "sse.js", pages, "sse.js", "plain", true},
	{"htmx", "htmx-ext-sse", pages, "htmx", "htmx", true},
	{"Turbo", "@hotwired/turbo", pages, "turbo", "turbo", true},
	{"tmaxmax/go-sse", "github.com/tmaxmax/go-sse", goes, "tmaxmax", "plain", true},
	{"r3labs/sse", "github.com/r3labs/sse/v2", goes, "r3labs", "plain", true},
	{"launchdarkly/eventsource", "github.com/launchdarkly/eventsource", goes, "launchdarkly", "plain", true},
}

// fits is whether a client can be in a case at all.
func (c client) fits(in testCase) bool {
	switch c.dialect {
	case "ollama":
		return in.way == converted // it reads lines, which one upstream for all clients and event streams are not
	case "mcp":
		return in.way != shared // a session of requests with answers of their own
	}
	return true
}
