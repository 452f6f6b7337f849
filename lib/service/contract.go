package service

// What master and the frame of a worker agree on beyond Postfix's protocol
// (protocols.md §3, DESIGN §3).
const (
	// EnvSessions names the variable that carries maxproc to a worker of ours:
	// the greatest number of sessions at a time, 0 for no limit. Its presence
	// tells the worker that it is alone in its service (no accept lock).
	EnvSessions = "SEALPOST_SESSIONS"
	// EnvTickets names the variable that carries the secret of a service's TLS
	// session tickets (tlsconn.Secret), so that a worker knows the tickets of the one
	// before it. Without it a worker makes its own.
	EnvTickets = "SEALPOST_TICKETS"
	// EnvGeneration is Postfix's GENERATION, octal.
	EnvGeneration = "GENERATION"

	FDFlowRead  = 3 // flow-control pipe
	FDFlowWrite = 4
	FDStatus    = 5 // status channel; EOF means drain and leave
	FDListen    = 6 // first listening socket
	// After the last listening socket master may pass one more descriptor to a
	// worker of ours whose service may run once: a locked file. The worker keeps
	// it, close-on-exec, as long as it lives, so that no second one is started
	// beside it, not even by the next master after this one was killed.

	StatusTaken = 0
	StatusAvail = 1
	// StatusLeaving is sent only to a master of ours (EnvSessions was set): the
	// worker stopped accepting for a reason of its own (a table changed, a session
	// panicked), finishes its sessions and exits with status 0. The successor is
	// to be started at once, beside it, or after it if the service may run once.
	StatusLeaving = 2
	// StatusLen is the size of a status record: pid, generation, status, each
	// 32 bits in native order (§3.3).
	StatusLen = 12

	// ControlDir holds the control sockets of workers, relative to the queue
	// directory, mode 0700. A worker creates it where it is missing.
	ControlDir = "private/ctl"
)

// ControlPath is the path of a worker's control socket relative to the queue
// directory: transport (inet, unix, pass, unix-dgram) and service name of
// master.cf with a dot between, as in Postfix's lock files: "private/ctl/inet.smtp".
func ControlPath(transport, service string) string {
	return ControlDir + "/" + socketName(transport, service)
}
