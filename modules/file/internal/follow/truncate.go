package follow

import "slices"

// truncated continues after a truncation: in the copy that "copytruncate" has made before, if there is one, or else at the start of the
// file.
func (f *Follower) truncated() {
	g, ok := parseGeneration(f.file.generation)
	at := Position{Offset: f.offset, InLine: f.inLine}
	// The head is read before and after the siblings are listed, so that another truncation is noticed.
	f.file.reset()
	_, _ = f.file.intact() // the next read returns the error again
	if ok {
		var list []sibling
		var doubt bool
		for range attempts {
			list = f.name.siblings()
			_, _ = f.file.intact()
			var copied *file
			var moved bool
			copied, doubt, moved = locateCopy(list, g, at, func(s sibling) bool {
				_, there := f.before[s.id]
				return there
			})
			if copied != nil {
				f.file.Close()
				f.file, f.copied = copied, true
				f.watch.moved.Store(true)
				return
			}
			if !moved {
				break
			}
		}
		if f.copied { // nobody writes to a copy, so its new content is unknown
			f.file.Close()
			f.file, f.copied, f.offset = nil, false, 0
			f.told.NewFile, f.told.Truncated, f.told.Gap = true, true, true
			f.watch.moved.Store(true)
			return
		}
		// The sibling that was left out may be the copy. And a new sibling may have lines that the file had meanwhile.
		f.told.Gap = f.told.Gap || doubt || f.joined(list)
		if f.named(f.file) { // otherwise the list may have later files
			f.before = sight(list)
		}
	}
	f.offset = 0
	f.empty = len(f.file.head) == 0
	f.told.NewFile, f.told.Truncated = true, true
}

// joined reports whether a sibling has appeared or changed since before was set. Such a sibling may be a copy with lines that the file
// had and lost meanwhile.
func (f *Follower) joined(list []sibling) bool {
	info, err := f.file.Stat()
	return err == nil && slices.ContainsFunc(list, func(s sibling) bool {
		at, there := f.before[s.id]
		return (!there || at != s.stamp()) && s.info.Size() > 0 && s.id != f.file.id && !s.info.ModTime().After(info.ModTime())
	})
}
