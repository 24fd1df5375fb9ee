package records

import "bytes"

// line finds the next record in Lines and NDJSON.
func (s *Splitter) line(rec *Record) Token {
	for s.pos < len(s.text) {
		rest := s.text[s.pos:]
		lf := bytes.IndexByte(rest, '\n')
		if lf < 0 {
			s.pos = len(s.text)
			return s.park(rest)
		}
		s.pos += lf + 1
		if token := s.lineEnd(rec, rest[:lf]); token != NeedMore {
			return token
		}
	}
	return NeedMore
}

// endLine ends the last line, which has no LF. A CR at its end is the first half of a CRLF.
func (s *Splitter) endLine(rec *Record) Token {
	if s.partial.isEmpty() {
		return NeedMore
	}
	return s.lineEnd(rec, nil)
}

func (s *Splitter) lineEnd(rec *Record, line []byte) Token {
	s.plain = s.noCR // this line uses up the parts that were kept
	noCR := s.noCR && !s.carryCR
	line = s.join(line)
	if !noCR {
		if n := len(line); n > 0 && line[n-1] == '\r' && !s.over {
			line = line[:n-1]
		}
		noCR = bytes.IndexByte(line, '\r') < 0
	}
	if len(line) <= s.max && !s.over && s.isBlankLine(line) {
		s.carry, s.carryCR = s.carry[:0], false
		return s.blank(rec)
	}
	return s.record(rec, line, noCR)
}

func (s *Splitter) isBlankLine(line []byte) bool {
	if len(line) == 0 {
		return true
	}
	if s.format != NDJSON {
		return false
	}
	for _, c := range line {
		if classes[c] != space {
			return false
		}
	}
	return true
}
