package scale

// Figures are the values measured at one point. Rates are per second.
type Figures struct {
	Point   Point   `json:"point"`
	Seconds float64 `json:"seconds"` // for how long it was observed
	// Failed is why there are no further figures, "" if they are complete: the machine may be too
	// small for a cluster of this size.
	Failed string `json:"failed,omitempty"`

	// Requests to all API servers, by kind, without those of a cluster without vipd.
	Requests Rates `json:"requests"`
	// Holder and Standby are the requests of one vipd each, counted by a proxy.
	Holder  Rates `json:"holder,omitempty"`
	Standby Rates `json:"standby,omitempty"`
	// WatchEvents are the versions of Leases that API servers sent to watchers, including the
	// servers' own watches.
	WatchEvents float64 `json:"watchEvents"`
	// Frames on the wire: TCP from and to API servers, and ARP.
	APIFrames float64 `json:"apiFrames"`
	VIPFrames float64 `json:"vipFrames"`
	ARPFrames float64 `json:"arpFrames"`

	Vipd      Processes `json:"vipd"`      // all of them
	OfHolder  Process   `json:"ofHolder"`  // the median of those with a VIP
	OfStandby Process   `json:"ofStandby"` // the median of those without
	APIServer Processes `json:"apiServer"` // the three
	Etcd      Processes `json:"etcd"`      // the three
	// Busy is how many processors of the machine were busy.
	Busy float64 `json:"busy"`

	Takeovers []Takeover `json:"takeovers,omitempty"`
}

// A Process is the resource usage of a process.
type Process struct {
	CPU       float64 `json:"cpu"`       // of one processor
	Resident  float64 `json:"resident"`  // MiB
	Anonymous float64 `json:"anonymous"` // MiB, without pages of files
}

// Processes are several processes, added up.
type Processes struct {
	Process
	Count int `json:"count"`
}

// A Takeover is the takeover after the end of the first VIP's holder.
type Takeover struct {
	Signal string `json:"signal"`
	From   string `json:"from"`
	To     string `json:"to"`
	// Seconds from the signal to the first ARP answer of the next holder.
	Seconds float64 `json:"seconds"`
	// Refused counts writes of the Lease that met a newer version, from candidates that were too
	// late.
	Refused int `json:"refused"`
	// Reads of the Lease, of which there are none at rest.
	Reads int `json:"reads"`
	// Twice counts evidence of two machines that answered at once.
	Twice int `json:"twice"`
}

// A Report is the result of all measurements in one lab.
type Report struct {
	Date    string `json:"date"`
	Machine string `json:"machine"`
	// Before and After are the same lab without any vipd.
	Before  Figures   `json:"before"`
	After   Figures   `json:"after"`
	Figures []Figures `json:"figures"`
}

// sum adds up the processes.
func sum(list []Process) Processes {
	out := Processes{Count: len(list)}
	for _, p := range list {
		out.CPU += p.CPU
		out.Resident += p.Resident
		out.Anonymous += p.Anonymous
	}
	return out
}

// medians returns the median of each value.
func medians(list []Process) Process {
	var cpu, resident, anonymous []float64
	for _, p := range list {
		cpu, resident, anonymous = append(cpu, p.CPU), append(resident, p.Resident), append(anonymous, p.Anonymous)
	}
	return Process{CPU: median(cpu), Resident: median(resident), Anonymous: median(anonymous)}
}
