// Package instance knows what an instance of the mail system has on disk
// before any daemon runs: the queue's directories with their owners and modes
// (protocols.md §4.1), the lock that says whether a master is running (§3.6),
// and what a crash may have left in the queue.
//
// The master daemon and the control command share it. Without root everything
// belongs to the calling user and no owner is changed or checked.
package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"sealpost/lib/config"
)

// Settings are the parameters that say where an instance lives and to whom it
// belongs.
type Settings struct {
	QueueDir     string `conf:"queue_directory"`
	DataDir      string `conf:"data_directory"`
	DaemonDir    string `conf:"daemon_directory"`
	CommandDir   string `conf:"command_directory"`
	PidDir       string `conf:"process_id_directory"`
	MailOwner    string `conf:"mail_owner"`
	SetgidGroup  string `conf:"setgid_group"`
	SyslogName   string `conf:"syslog_name"`
	MaillogFile  string `conf:"maillog_file"`
	PostlogName  string `conf:"postlog_service_name"`
	MyHostname   string `conf:"myhostname"`
	MailVersion  string `conf:"mail_version"`
	ConfigDir    string `conf:"config_directory"`
	DefaultLimit int    `conf:"default_process_limit"`
}

// Load decodes the settings.
func Load(c *config.Config) (Settings, error) {
	var s Settings
	if err := c.Decode(&s); err != nil {
		return s, err
	}
	s.ConfigDir = c.Dir()
	for _, d := range []struct{ name, value string }{
		{"queue_directory", s.QueueDir},
		{"data_directory", s.DataDir},
		{"daemon_directory", s.DaemonDir},
	} {
		if !filepath.IsAbs(d.value) {
			return s, fmt.Errorf("%s/main.cf: %s = %q is not an absolute path", s.ConfigDir, d.name, d.value)
		}
	}
	return s, nil
}

// UserDir is the queue subdirectory with the sockets that any local user may
// open (DESIGN §3, Local submission).
const UserDir = "user"

// Who owns a directory.
type owner int

const (
	ownerRoot owner = iota
	ownerMail
)

// Dir is one directory of the queue.
type Dir struct {
	Name   string // relative to queue_directory, "" is the directory itself
	Mode   fs.FileMode
	owner  owner
	setgid bool // group is setgid_group
}

// Layout is the table of §4.1, in the order in which directories are made.
func Layout(s Settings) []Dir {
	dirs := []Dir{
		{Name: "", Mode: 0o755},
		{Name: s.PidDir, Mode: 0o755},
		{Name: "private", Mode: 0o700, owner: ownerMail},
		{Name: "public", Mode: 0o710, owner: ownerMail, setgid: true},
		{Name: UserDir, Mode: 0o755, owner: ownerMail},
		{Name: "maildrop", Mode: 0o730, owner: ownerMail, setgid: true},
	}
	for _, name := range []string{
		"incoming", "active", "deferred", "hold", "corrupt",
		"bounce", "defer", "trace", "flush", "saved", "tlstrace",
	} {
		dirs = append(dirs, Dir{Name: name, Mode: 0o700, owner: ownerMail})
	}
	return dirs
}

// IDs are the numeric identities an instance works with. Without root they are
// -1, which leaves owners as they are.
type IDs struct {
	UID, GID int // mail_owner
	Setgid   int // setgid_group
}

// LookupIDs resolves mail_owner and setgid_group when the caller is root.
func LookupIDs(s Settings) (IDs, error) {
	if os.Geteuid() != 0 {
		return IDs{-1, -1, -1}, nil
	}
	u, err := user.Lookup(s.MailOwner)
	if err != nil {
		return IDs{}, fmt.Errorf("mail_owner = %s: no such user; create it or change the parameter: %w", s.MailOwner, err)
	}
	g, err := user.LookupGroup(s.SetgidGroup)
	if err != nil {
		return IDs{}, fmt.Errorf("setgid_group = %s: no such group; create it or change the parameter: %w", s.SetgidGroup, err)
	}
	var ids IDs
	for _, n := range []struct {
		text string
		to   *int
	}{{u.Uid, &ids.UID}, {u.Gid, &ids.GID}, {g.Gid, &ids.Setgid}} {
		if *n.to, err = strconv.Atoi(n.text); err != nil {
			return IDs{}, fmt.Errorf("user database: id %q of %s or %s is not a number", n.text, s.MailOwner, s.SetgidGroup)
		}
	}
	if ids.UID == 0 {
		return IDs{}, fmt.Errorf("mail_owner = %s has uid 0; the mail system must own its queue under a user of its own", s.MailOwner)
	}
	return ids, nil
}

// Create makes the directories of the queue and the data directory that are
// missing, with their owners and modes. What exists is left alone: Check
// reports it.
func Create(s Settings, ids IDs) error {
	for _, d := range Layout(s) {
		path := filepath.Join(s.QueueDir, d.Name)
		uid, gid := d.ids(ids)
		if err := makeDir(path, d.Mode, uid, gid); err != nil {
			return err
		}
	}
	return makeDir(s.DataDir, 0o700, ids.UID, ids.GID)
}

func (d Dir) ids(ids IDs) (uid, gid int) {
	if ids.UID < 0 {
		return -1, -1
	}
	if d.owner == ownerMail {
		uid = ids.UID
	}
	if d.setgid {
		gid = ids.Setgid
	}
	return uid, gid
}

// makeDir makes one directory whose parent is made too when it is missing. The
// mode is set after the directory is there, because the umask cuts it.
func makeDir(path string, mode fs.FileMode, uid, gid int) error {
	err := os.Mkdir(path, mode)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if err := makeDir(filepath.Dir(path), 0o755, -1, -1); err != nil {
			return err
		}
		err = os.Mkdir(path, mode)
	}
	if err != nil {
		return fmt.Errorf("create directory: %w", err)
	}
	if uid >= 0 {
		if err := os.Chown(path, uid, gid); err != nil {
			return fmt.Errorf("set owner of new directory: %w", err)
		}
	}
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("set mode of new directory: %w", err)
	}
	return nil
}

// Check compares the directories with the table and returns one sentence for
// each difference.
func Check(s Settings, ids IDs) []string {
	var problems []string
	for _, d := range Layout(s) {
		path := filepath.Join(s.QueueDir, d.Name)
		uid, gid := d.ids(ids)
		if !d.setgid {
			gid = -1 // any group will do where the mode grants it nothing
		}
		problems = append(problems, checkDir(path, d.Mode, uid, gid)...)
	}
	return append(problems, checkDir(s.DataDir, 0o700, ids.UID, -1)...)
}

func checkDir(path string, mode fs.FileMode, uid, gid int) []string {
	st, err := os.Lstat(path)
	if err != nil {
		return []string{err.Error()}
	}
	if !st.IsDir() {
		return []string{fmt.Sprintf("%s is not a directory", path)}
	}
	var problems []string
	if extra := st.Mode().Perm() &^ mode; extra != 0 {
		problems = append(problems, fmt.Sprintf("%s has mode %04o, expected %04o: others may get at it; chmod %04[3]o %[1]s", path, st.Mode().Perm(), mode))
	} else if lacks := mode &^ st.Mode().Perm(); lacks != 0 {
		problems = append(problems, fmt.Sprintf("%s has mode %04o, expected %04o; chmod %04[3]o %[1]s", path, st.Mode().Perm(), mode))
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		if uid >= 0 && int(sys.Uid) != uid {
			problems = append(problems, fmt.Sprintf("%s is owned by uid %d, expected %d; chown %[3]d %[1]s", path, sys.Uid, uid))
		}
		if gid >= 0 && int(sys.Gid) != gid {
			problems = append(problems, fmt.Sprintf("%s has group %d, expected %d; chgrp %[3]d %[1]s", path, sys.Gid, gid))
		}
	}
	return problems
}
