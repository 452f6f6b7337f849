// Package service is the frame of every daemon: it reads the arguments and
// variables that master passes, the configuration and the log, drops
// privileges, accepts connections, and leaves when it is time. A daemon gives it
// a Spec; its Init opens what it needs and returns a Worker, whose functions are
// called for each session.
//
//	func main() {
//		service.Main(service.Spec{Program: "echo", Init: func(env *service.Env) (*service.Worker, error) {
//			return &service.Worker{Conn: func(ctx context.Context, s *service.Session) {
//				io.Copy(s.Conn, s.Conn)
//			}}, nil
//		}})
//	}
//
// A test, or a program that embeds a daemon, calls Serve with a listener.
//
// # Start
//
// The order matters (DESIGN §3):
//
//  1. arguments (protocols.md §3.2); descriptors 3 and up become close-on-exec
//  2. main.cf with the -o overrides; the log
//  3. the working directory becomes queue_directory
//  4. Init: tables, certificates, sockets, with the rights of the start
//  5. chroot (-c), then mail_owner (-u); without root neither
//  6. the listening sockets (6 and up); TAKEN and AVAIL to master
//  7. the first byte of a peer
//
// An error before step 6 is fatal: it is logged, and the worker exits with status
// 1 after a second. master then throttles the service. A worker without -u stays
// root: what acts as a user is a process of its own.
//
// # Sessions
//
// There is one process per service and one goroutine per session. The greatest
// number of sessions is what master says in EnvSessions (maxproc of master.cf),
// or 100 under a master that does not say it; services of kind MultiClient have
// no limit. A full worker accepts nothing and tells master TAKEN; clients wait in
// the backlog of the socket. A service that strangers reach (master passes "-o
// stress=") then gives new sessions the configuration with stress=yes, for 1000
// seconds after the limit was last reached.
//
// Under Postfix's master there may be several workers of one service. They take
// turns with a lock on pid/TRANSPORT.NAME, and an idle one leaves after max_idle.
// Under ours a worker is alone and stays: it costs little, and the next client
// does not wait for a start. max_use is accepted and ignored by both kinds. The
// watchdog of Postfix (daemon_timeout) has no counterpart in servers: a session that
// hangs holds up nobody else, and each has deadlines of its own. Daemons that do work
// for all others (qmgr, postlogd) have a Watchdog.
//
// # End
//
// A worker leaves when master closes the status channel (reload, stop), when a
// file that it watches was replaced, or after a session panicked. It stops
// accepting first. It closes only its own descriptors of the listening sockets:
// connections in the backlog are the successor's. Then it closes Session.Drain:
// a session without a transaction ends at its next boundary, others go on for up
// to drain_timeout. The exit status is 0. If it leaves by its own decision it
// tells a master of ours so (StatusLeaving), which starts the successor at once.
//
// What a leaving worker still serves counts for its successor: sessions for the limit
// of the service, and what the worker itself limits (Env.Tally).
//
// A service of kind MultiClient (qmgr, pickup) must not run twice: its Run is
// stopped at once and its requests have a second to end. SIGTERM makes any worker
// leave at once.
//
// # Control
//
// Each worker serves private/ctl/TRANSPORT.NAME (ControlPath): status, counters
// (Env.Counters) and verbosity, for root and mail_owner. Control is the client. A
// successor hears there what its predecessor still serves.
package service
