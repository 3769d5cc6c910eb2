package timeline

import (
	"fmt"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
)

// A version of the Lease with the time of its write: the time that its writer put into it if the
// version is new and the time is plausible, else the time of delivery.
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

// A holding is a time in which one holder in the Lease renews it in time.
type holding struct {
	holder   string
	term     int
	from, to record.Time
	// until is when the Lease stopped naming that holder, if that was before `to`.
	until    record.Time
	versions []version
}

func holdings(list []record.LeaseVersion) (out []holding) {
	named := false // the last one is still named
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

// lease returns a lane with a bar for each holding, and with its writes. The rest of a lease after
// the holder is no longer named is pale.
func (d drawing) lease(v view, is func(who string) bool) lane {
	l := lane{Name: "lease"}
	for _, h := range holdings(d.History.Leases) {
		if !is(h.holder) {
			continue
		}
		what := fmt.Sprintf("%s in term %d", h.holder, h.term)
		l.add(v, h.from, h.until, shape{Title: what + ": " + v.during(h.from, h.until), Text: what})
		if h.until < h.to {
			l.add(v, h.until, h.to, shape{Class: "pale", Title: what + " is no longer named; the lease would end at " + v.rel(h.to)})
		}
		for _, w := range h.versions {
			l.add(v, w.wrote, w.wrote, shape{Class: "write", Sign: notch, Title: what + " for " + w.duration() + ", written at " + v.rel(w.wrote) + ", seen at " + v.rel(w.At)})
		}
	}
	return l
}

func (v version) duration() string { return fmt.Sprintf("%d s", v.Seconds) }
