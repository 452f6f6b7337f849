package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// logrotate renames maillog_file and makes postlogd open a new one (§3.6).
func (c *control) logrotate() int {
	file := c.settings.MaillogFile
	switch {
	case file == "":
		return c.fatal("no maillog_file is set: the log belongs to the system's log daemon")
	case strings.HasPrefix(file, "/dev/"):
		return c.fatal("not rotating %s", file)
	}
	target := file + "." + strftime(c.cfg.Str("maillog_file_rotate_suffix"), time.Now())
	if _, err := os.Lstat(target); err == nil {
		return c.fatal("not rotating %s: %s exists already", file, target)
	}
	if err := os.Rename(file, target); err != nil {
		return c.fatal("%v", err)
	}
	if pid, ok := c.running(); ok && pid > 0 {
		if !c.signal(pid, syscall.SIGHUP) {
			return 1
		}
		// The old log daemon may still be writing.
		time.Sleep(time.Second)
	}
	compressor := c.cfg.Str("maillog_file_compressor")
	if compressor == "" {
		return 0
	}
	if !filepath.IsAbs(compressor) {
		for _, dir := range []string{"/usr/bin", "/bin", "/usr/local/bin"} {
			if executable(filepath.Join(dir, compressor)) == nil {
				compressor = filepath.Join(dir, compressor)
				break
			}
		}
	}
	return c.runCommand(compressor, target)
}

// strftime knows the letters that make sense in the name of a log file.
func strftime(format string, t time.Time) string {
	return strings.NewReplacer(
		"%Y", t.Format("2006"), "%y", t.Format("06"), "%m", t.Format("01"),
		"%d", t.Format("02"), "%H", t.Format("15"), "%M", t.Format("04"),
		"%S", t.Format("05"), "%j", t.Format("002"), "%F", t.Format("2006-01-02"),
		"%s", strconv.FormatInt(t.Unix(), 10), "%%", "%",
	).Replace(format)
}
