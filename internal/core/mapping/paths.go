package mapping

import (
	"slices"
	"strings"
)

// paths is a trie of the paths in templates. With it, one pass validates a record and finds the values of all paths.
type paths struct {
	nodes []pathNode // the first one is the record itself
	depth int        // the length of the longest path
}

type pathNode struct{ branches []branch }

type branch struct {
	key       key
	backslash bool // the key has a backslash, so the same text in JSON means another key
	node      int
}

// noNode stands for a value that is on no path.
const noNode = -1

// add adds a path, and returns the node at its end.
func (p *paths) add(path []key) (node int) {
	if p.nodes == nil {
		p.nodes = make([]pathNode, 1)
	}
	p.depth = max(p.depth, len(path))
	for _, k := range path {
		i := slices.IndexFunc(p.nodes[node].branches, func(b branch) bool { return b.key == k })
		if i < 0 {
			p.nodes[node].branches = append(p.nodes[node].branches, branch{k, strings.Contains(k.name, `\`), len(p.nodes)})
			p.nodes = append(p.nodes, pathNode{})
			i = len(p.nodes[node].branches) - 1
		}
		node = p.nodes[node].branches[i].node
	}
	return node
}

// isEmpty reports whether there is no path.
func (p *paths) isEmpty() bool { return p == nil || p.nodes == nil }

// pathValues are the values of paths in one record.
type pathValues struct {
	paths *paths
	spans []span      // the value of each node
	open  []container // the open containers that are on a path, the outermost first
}

// span is the position of a value in the record. The end is 0 until it is known.
type span struct {
	start, end int
	seen       bool
}

type container struct {
	node    int
	element int // the number of an array's element
}

// begin clears the values of the last record and returns the node of the new record.
func (v *pathValues) begin() int {
	v.open = v.open[:0]
	if v.paths.isEmpty() {
		return noNode
	}
	if n := len(v.paths.nodes); len(v.spans) != n {
		v.spans = make([]span, n)
		v.open = make([]container, 0, v.paths.depth+1)
	}
	clear(v.spans)
	return 0
}

// member returns the node of a member of the innermost open container. raw is the text between the quotes of its name.
func (v *pathValues) member(raw string) int {
	branches := v.paths.nodes[v.open[len(v.open)-1].node].branches
	for i := range branches {
		if b := &branches[i]; raw == b.key.name && !b.backslash {
			return v.first(b.node)
		}
	}
	if strings.IndexByte(raw, '\\') < 0 {
		return noNode
	}
	for _, b := range branches {
		if sameString(raw, b.key.name) {
			return v.first(b.node)
		}
	}
	return noNode
}

// first returns the node, unless a member with the same name came before it. The first one counts.
func (v *pathValues) first(node int) int {
	if v.spans[node].seen {
		return noNode
	}
	v.spans[node].seen = true
	return node
}

// element returns the node of the next element of the innermost open container.
func (v *pathValues) element() int {
	array := &v.open[len(v.open)-1]
	n := array.element
	array.element++
	for _, b := range v.paths.nodes[array.node].branches {
		if b.key.index == n {
			return b.node
		}
	}
	return noNode
}

// enter records the beginning of the container at a node.
func (v *pathValues) enter(node, start int) {
	v.spans[node].start = start
	v.open = append(v.open, container{node: node})
}

// leave records the end of the innermost open container.
func (v *pathValues) leave(end int) {
	last := len(v.open) - 1
	v.spans[v.open[last].node].end = end
	v.open = v.open[:last]
}
