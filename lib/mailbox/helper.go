package mailbox

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/attr"
)

// helperEnv marks a process that was started to deliver as its own user.
const helperEnv = "SEALPOST_MAILBOX_HELPER"

// Users delivers as given users. Without root, and for the calling user itself,
// it delivers in process; for others through one helper process per user and
// group, which is started when first needed and leaves with us.
type Users struct {
	own     Deliverer
	exe     string // the helper's program; empty: our own
	mu      sync.Mutex
	helpers map[ID]*helper
}

// ID is a numeric user and group.
type ID struct{ UID, GID int }

// NewUsers returns a Users without helpers.
func NewUsers() *Users { return &Users{helpers: make(map[ID]*helper)} }

// Deliver stores a message as the given user. The error is an *Error.
func (u *Users) Deliver(ctx context.Context, id ID, src *os.File, j *Job) error {
	if os.Geteuid() != 0 || id.UID == 0 && id.GID == os.Getegid() {
		return u.own.Deliver(ctx, src, j)
	}
	h, err := u.helper(id)
	if err != nil {
		return &Error{Code: "4.3.0", Text: fmt.Sprintf("cannot start delivery process for uid %d: %v", id.UID, err), Err: err}
	}
	code, text, err := h.do(ctx, src, j)
	if err != nil {
		u.drop(id, h)
		return &Error{Code: "4.3.0", Text: fmt.Sprintf("delivery process for uid %d failed: %v", id.UID, err), Err: err}
	}
	if code != "" {
		return &Error{Code: code, Text: text}
	}
	return nil
}

// Close ends the helpers and waits for them.
func (u *Users) Close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, h := range u.helpers {
		h.close()
		delete(u.helpers, id)
	}
}

func (u *Users) helper(id ID) (*helper, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if h := u.helpers[id]; h != nil {
		return h, nil
	}
	h, err := startHelper(u.exe, id)
	if err == nil {
		u.helpers[id] = h
	}
	return h, err
}

func (u *Users) drop(id ID, h *helper) {
	u.mu.Lock()
	if u.helpers[id] == h {
		delete(u.helpers, id)
		go h.close()
	}
	u.mu.Unlock()
}

// helper is the end of the control socket in the privileged process.
type helper struct {
	cmd  *exec.Cmd
	conn *net.UnixConn
}

func startHelper(exe string, id ID) (*helper, error) {
	ours, theirs, err := socketpair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	defer ours.Close()
	if exe == "" {
		if exe, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(exe)
	cmd.Args = []string{os.Args[0], "uid=" + strconv.Itoa(id.UID)}
	cmd.Env = []string{helperEnv + "=1", "TZ=" + os.Getenv("TZ")}
	cmd.Dir = "/"
	cmd.Stdin = theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uint32(id.UID), Gid: uint32(id.GID)},
		Pdeathsig:  syscall.SIGTERM,
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	conn, err := fileConn(ours)
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, err
	}
	return &helper{cmd: cmd, conn: conn}, nil
}

func (h *helper) close() {
	h.conn.Close()
	h.cmd.Wait()
}

// do hands over the job's own connection and a read-only descriptor of the
// queue file, then sends the job and reads the verdict.
func (h *helper) do(ctx context.Context, src *os.File, j *Job) (code, text string, err error) {
	ours, theirs, err := socketpair(unix.SOCK_STREAM)
	if err != nil {
		return "", "", err
	}
	defer ours.Close()
	ro, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(src.Fd())))
	if err != nil {
		theirs.Close()
		return "", "", err
	}
	rights := unix.UnixRights(int(theirs.Fd()), int(ro.Fd()))
	_, _, err = h.conn.WriteMsgUnix([]byte{'J'}, rights, nil)
	theirs.Close()
	ro.Close()
	if err != nil {
		return "", "", err
	}
	conn, err := fileConn(ours)
	if err != nil {
		return "", "", err
	}
	defer conn.Close()
	if t, ok := ctx.Deadline(); ok {
		conn.SetDeadline(t)
	}
	if _, err := conn.Write(encodeJob(j)); err != nil {
		return "", "", err
	}
	d := attr.NewDecoder(bufio.NewReader(conn), attr.Strict)
	code, text = d.Str("status"), d.Str("reason")
	return code, text, d.End()
}

func encodeJob(j *Job) []byte {
	var e attr.Encoder
	e.Str("path", j.Path)
	e.Str("header", j.Header)
	e.Str("sender", j.Sender)
	e.Str("host", j.Hostname)
	e.Long("time", j.Now.UnixNano())
	e.Long("limit", j.SizeLimit)
	e.Str("locks", strings.Join(j.Locks, " "))
	e.Int("tries", j.LockTries)
	e.Long("delay", int64(j.LockDelay))
	e.Long("offset", j.DataOffset)
	e.End()
	return e.Bytes()
}

func decodeJob(d *attr.Decoder) (*Job, error) {
	j := &Job{Path: d.Str("path"), Header: d.Str("header"), Sender: d.Str("sender"), Hostname: d.Str("host")}
	j.Now = time.Unix(0, d.Long("time"))
	j.SizeLimit = d.Long("limit")
	j.Locks = strings.Fields(d.Str("locks"))
	j.LockTries = d.Int("tries")
	j.LockDelay = time.Duration(d.Long("delay"))
	j.DataOffset = d.Long("offset")
	return j, d.End()
}

// RunHelper serves deliveries and does not return when this process was started
// as a helper; otherwise it does nothing. An agent that uses Users calls it
// first in main.
func RunHelper() {
	if os.Getenv(helperEnv) == "" {
		return
	}
	unix.Umask(0o077)
	conn, err := fileConn(os.Stdin)
	if err != nil {
		os.Exit(1)
	}
	var jobs sync.WaitGroup
	var own Deliverer
	buf := make([]byte, 1)
	oob := make([]byte, unix.CmsgSpace(2*4))
	for {
		n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
		if err != nil || n == 0 {
			break
		}
		if fds := receivedFDs(oob[:oobn]); len(fds) == 2 {
			jobs.Go(func() { serveJob(&own, fds[0], fds[1]) })
		}
	}
	jobs.Wait()
	os.Exit(0)
}

func receivedFDs(oob []byte) []int {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 1 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return nil
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return fds
}

func serveJob(own *Deliverer, sock, file int) {
	src := os.NewFile(uintptr(file), "queue file")
	defer src.Close()
	f := os.NewFile(uintptr(sock), "job")
	conn, err := fileConn(f)
	f.Close()
	if err != nil {
		return
	}
	defer conn.Close()
	j, err := decodeJob(attr.NewDecoder(bufio.NewReader(conn), attr.Strict))
	if err != nil {
		return
	}
	var e attr.Encoder
	code, text := "", ""
	if err := own.Deliver(context.Background(), src, j); err != nil {
		de := err.(*Error)
		code, text = de.Code, de.Text
	}
	e.Str("status", code)
	e.Str("reason", text)
	e.End()
	conn.Write(e.Bytes())
}

func socketpair(typ int) (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "socketpair"), os.NewFile(uintptr(fds[1]), "socketpair"), nil
}

// fileConn makes a connection of a socket; f stays open.
func fileConn(f *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("not a Unix socket")
	}
	return u, nil
}
