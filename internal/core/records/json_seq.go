package records

import "bytes"

// recordSeparator begins each record of JSONSeq.
const recordSeparator = 0x1E

// jsonSeq finds the next record in a JSONSeq. In RFC 7464, a record extends to the RS of the next record. So that no record has to
// wait for the next one, an LF also ends a record if no bracket and no string is open. An RS always ends a record, because it
// cannot occur in JSON. The first RS may be missing. White space at the end of a record is part of the framing.
func (s *Splitter) jsonSeq(rec *Record) Token {
	j, text, i := &s.json, s.text, s.pos
	run := i // the text from here on belongs to the record, but is not in carry yet
	for ; i < len(text); i++ {
		if j.quoted {
			i += j.inString(text[i:])
			if i == len(text) {
				break
			}
		}
		c := text[i]
		what := classes[c]
		switch {
		case c == recordSeparator:
			if j.in != between {
				return s.jsonSeqEnd(rec, text[run:i], i)
			}
			j.used = true
		case j.quoted:
			j.quoted = c != '"'
			j.lines = j.lines || c == '\n' || c == '\r'
		case what == space && j.in == between:
			if c != '\n' {
				continue
			}
			blank := !j.used
			j.used = false
			if blank {
				s.pos = i + 1
				return s.blank(rec)
			}
		case what == space:
			if j.in == scalar {
				j.in = nested // the white space after it shows that it is complete
			}
			if c == '\n' && j.depth == 0 {
				token := s.jsonSeqEnd(rec, text[run:i], i+1)
				j.used = false
				return token
			}
			j.lines = j.lines || c == '\n' || c == '\r'
		default:
			if j.in == between {
				j.in, j.used, run = nested, true, i
				if what == other {
					j.in = scalar
				}
			}
			switch what {
			case opening:
				j.depth++
			case closing:
				j.depth = max(j.depth-1, 0)
			case quote:
				j.quoted = true
			}
		}
	}
	s.pos = len(text)
	if j.in == between {
		return NeedMore
	}
	return s.park(text[run:])
}

// jsonSeqEnd ends a record. The text has been read up to end. A number or literal without white space after it may be the beginning
// of a longer one, and is dropped (RFC 7464 §2.4).
func (s *Splitter) jsonSeqEnd(rec *Record, part []byte, end int) Token {
	s.pos = end
	text, j := s.join(part), s.json
	s.json = jsonState{used: true}
	if len(text) > s.max+1 {
		text, s.over = text[:s.max+1], true // as in keep
	}
	text = bytes.TrimRight(text, " \t\r\n")
	if j.in == scalar && !s.over && len(text) <= s.max {
		s.carry, s.carryCR = s.carry[:0], false
		return NeedMore
	}
	return s.record(rec, text, !j.lines)
}

// endJSONSeq ends the last record.
func (s *Splitter) endJSONSeq(rec *Record) Token {
	if s.json.in == between {
		return NeedMore
	}
	return s.jsonSeqEnd(rec, nil, s.pos)
}
