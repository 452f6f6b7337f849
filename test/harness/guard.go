package harness

import (
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
)

// watchman is the script of the process that outlives us: it learns the queue
// directories of the instances that we start, one a line, and when we are gone,
// however that came about, it stops the masters that are left. A master works in
// its queue directory, so a process id that belongs to somebody else by now is
// recognised.
const watchman = `
trap '' INT TERM HUP
while read -r queue; do
	set -- "$@" "$queue"
done
for queue; do
	read -r pid <"$queue/pid/master.pid" || continue
	[ "$(readlink "/proc/$pid/cwd")" = "$queue" ] && kill -TERM "$pid"
done 2>/dev/null
`

// guard starts the watchman of this process once, and returns where to tell it.
var guard = sync.OnceValues(func() (io.Writer, error) {
	cmd := exec.Command("/bin/sh", "-c", watchman)
	// Nothing of ours: who waits for the end of our output does not wait for it,
	// and what is sent to our process group does not reach it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go cmd.Wait() //nolint:errcheck // it ends after us
	return in, nil
})

// watched makes sure that the instance does not outlive this process: a test
// that is killed by a timeout stops nothing.
func watched(queueDir string) error {
	w, err := guard()
	if err == nil {
		_, err = fmt.Fprintln(w, queueDir)
	}
	if err != nil {
		return fmt.Errorf("watch over %s: %w", queueDir, err)
	}
	return nil
}
