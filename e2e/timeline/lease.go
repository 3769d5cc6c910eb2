package timeline

import (
	"fmt"
	"time"

	"github.com/vipd-io/vipd/e2e/analyse"
	"github.com/vipd-io/vipd/e2e/record"
)

// A version is one of the Lease's, with the time at which it was written: that which
// its writer put into it if it is a new one and can be true, else when it was seen.
type version struct {
	record.LeaseVersion
	wrote record.Time
}

func written(list []record.LeaseVersion) (out []version) {
	var before record.Time
	for _, v := range analyse.Versions(list) {
		wrote := v.At
		if v.Sent > before && v.Sent < v.At {
			wrote, before = v.Sent, v.Sent
		}
		out = append(out, version{v, wrote})
	}
	return out
}

// A holding is a time in which the Lease names one holder that renews it in time.
type holding struct {
	holder   string
	term     int
	from, to record.Time
	// until is when the Lease named it no more, if that was before its end.
	until    record.Time
	versions []version
}

func holdings(list []record.LeaseVersion) (out []holding) {
	named := false // the last one is, still
	for _, v := range written(list) {
		end := v.wrote.Add(time.Duration(v.Seconds) * time.Second)
		names := v.Holder != "" && !v.Deleted
		if named {
			last := &out[len(out)-1]
			if names && v.Holder == last.holder && v.Term == last.term && v.wrote <= last.to {
				last.to, last.until = end, end
				last.versions = append(last.versions, v)
				continue
			}
			last.until = min(last.to, v.wrote)
		}
		if named = names; names {
			out = append(out, holding{holder: v.Holder, term: v.Term, from: v.wrote, to: end, until: end, versions: []version{v}})
		}
	}
	return out
}

// lease is a bar for each holding, with the writes in it. What was left of a lease when
// the record named its holder no more is pale.
func (d drawing) lease(v view, is func(who string) bool) lane {
	l := lane{Name: "lease"}
	for _, h := range holdings(d.History.Leases) {
		if !is(h.holder) {
			continue
		}
		what := fmt.Sprintf("%s in term %d", h.holder, h.term)
		l.add(v, h.from, h.until, shape{Title: what + ": " + v.during(h.from, h.until), Text: what})
		if h.until < h.to {
			l.add(v, h.until, h.to, shape{Class: "pale", Title: what + " is named no more; it would end at " + v.rel(h.to)})
		}
		for _, w := range h.versions {
			l.add(v, w.wrote, w.wrote, shape{Class: "write", Sign: notch, Title: what + " for " + w.duration() + ", written at " + v.rel(w.wrote) + ", seen at " + v.rel(w.At)})
		}
	}
	return l
}

func (v version) duration() string { return fmt.Sprintf("%d s", v.Seconds) }
