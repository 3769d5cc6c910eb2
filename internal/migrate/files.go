package migrate

import "slices"

// Files migrates files that refer to each other. results and errs have one item for each file.
func Files(srcs []string, o Options) (results []Result, errs []error) {
	results, errs = make([]Result, len(srcs)), make([]error, len(srcs))
	found := make([]*migration, len(srcs))
	pass := func() {
		before := slices.Clone(found)
		for i, src := range srcs {
			found[i] = newMigration(o.with(srcs, before, i))
			results[i], errs[i] = found[i].migrate(src)
		}
	}
	pass()
	if len(srcs) > 1 {
		// The second pass knows the commands of the other files, which tell whether a manifest keeps
		// its name; the third knows the name.
		pass()
		pass()
	}
	return results, errs
}

// with returns the options for one of the files.
func (o Options) with(srcs []string, found []*migration, i int) Options {
	for k, m := range found {
		if k == i {
			continue
		}
		o.beside = append(o.beside, srcs[k])
		if m == nil {
			continue
		}
		for _, w := range m.manifests {
			if w.assumed && !w.variable {
				w.renamed = vipdPath // the user writes the file there
			}
			w.owner = nil
			o.elsewhere = append(o.elsewhere, w)
		}
		for _, t := range m.texts {
			o.texts = append(o.texts, str(t.n))
		}
	}
	return o
}
