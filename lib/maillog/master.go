package maillog

import "strconv"

// Lines of master(8): protocols.md §3.5 and §3.6.

// MasterState is a change of the whole mail system: "daemon started" or
// "reload", with the version and the configuration directory.
type MasterState struct {
	What      string // "daemon started", "reload"
	Version   string
	ConfigDir string
}

func (e MasterState) Name() string { return "master_state" }

func (e MasterState) AppendText(b []byte) []byte {
	b = append(b, e.What...)
	b = append(b, " -- version "...)
	b = append(b, e.Version...)
	b = append(b, ", configuration "...)
	return append(b, e.ConfigDir...)
}

func (e MasterState) Fields() []Field {
	return []Field{{"what", e.What}, {"version", e.Version}, {"configuration", e.ConfigDir}}
}

// MasterTerminating is the last line of a master that was told to stop.
type MasterTerminating struct{ Signal int }

func (e MasterTerminating) Name() string { return "master_terminating" }

func (e MasterTerminating) AppendText(b []byte) []byte {
	return strconv.AppendInt(append(b, "terminating on signal "...), int64(e.Signal), 10)
}

func (e MasterTerminating) Fields() []Field { return []Field{{"signal", e.Signal}} }

// ChildExit is a child that left with an exit status other than 0, or by a
// signal when Signal is not 0.
type ChildExit struct {
	Path   string
	PID    int
	Status int
	Signal int
}

func (e ChildExit) Name() string { return "child_exit" }

func (e ChildExit) AppendText(b []byte) []byte {
	b = append(b, "process "...)
	b = append(b, e.Path...)
	b = append(b, " pid "...)
	b = strconv.AppendInt(b, int64(e.PID), 10)
	if e.Signal != 0 {
		return strconv.AppendInt(append(b, " killed by signal "...), int64(e.Signal), 10)
	}
	return strconv.AppendInt(append(b, " exit status "...), int64(e.Status), 10)
}

func (e ChildExit) Fields() []Field {
	return []Field{{"path", e.Path}, {"pid", e.PID}, {"status", e.Status}, {"signal", e.Signal}}
}

// BadStartup is a service that is not started again for a while, because its
// program did not live long enough to say that it is ready.
type BadStartup struct{ Path string }

func (e BadStartup) Name() string { return "bad_startup" }

func (e BadStartup) AppendText(b []byte) []byte {
	return append(append(b, e.Path...), ": bad command startup -- throttling"...)
}

func (e BadStartup) Fields() []Field { return []Field{{"path", e.Path}} }

// ProcessLimit is the first of the three lines about a service that has no
// process left for new clients.
type ProcessLimit struct {
	Service string // master.cf name
	Command string
	Limit   int
}

func (e ProcessLimit) Name() string { return "process_limit" }

func (e ProcessLimit) AppendText(b []byte) []byte {
	b = append(b, `service "`...)
	b = append(b, e.Service...)
	b = append(b, `" (`...)
	b = append(b, e.Command...)
	b = append(b, `) has reached its process limit "`...)
	b = strconv.AppendInt(b, int64(e.Limit), 10)
	return append(b, `": new clients may experience noticeable delays`...)
}

func (e ProcessLimit) Fields() []Field {
	return []Field{{"service", e.Service}, {"command", e.Command}, {"limit", e.Limit}}
}
