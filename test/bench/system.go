package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"sealpost/test/selfsigned"
)

// system is one mail system under test: the same shape for both.
type system struct {
	name    string
	dir     string // holds config, queue, data and log
	start   []string
	stop    []string
	confDir string
	queue   string
	port    int
	main    string // main.cf text
	master  string // master.cf text
}

// common are the settings that both systems share; all else is each one's default.
const common = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
myhostname = bench.example
mydomain = bench.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:%[2]d
maillog_file = %[1]s/mail.log
maillog_file_prefixes = /dev/shm, /tmp, /var
mail_owner = postfix
setgid_group = postdrop
alias_maps =
alias_database =
local_recipient_maps =
`

const masterCF = `127.0.0.1:%[1]d inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
showq unix n - n - - showq
postlog unix-dgram n - n - 1 postlogd
`

const postfixOnly = `rewrite unix - - n - - trivial-rewrite
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
tlsproxy unix - - n - 0 tlsproxy
flush unix n - n 1000? 0 flush
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
`

func newPostfix(dir string) *system {
	conf := dir + "/conf"
	return &system{
		name: "Postfix", dir: dir, confDir: conf, queue: dir + "/queue",
		start: []string{"/usr/sbin/postfix", "-c", conf, "start-fg"},
		stop:  []string{"/usr/sbin/postfix", "-c", conf, "stop"},
		main:  common + "daemon_directory = /usr/lib/postfix/sbin\n", master: masterCF + postfixOnly,
	}
}

func newSealpost(dir, bin string) *system {
	conf := dir + "/conf"
	return &system{
		name: "Sealpost", dir: dir, confDir: conf, queue: dir + "/queue",
		start: []string{bin + "/sealpost", "-c", conf, "start-fg"},
		stop:  []string{bin + "/sealpost", "-c", conf, "stop"},
		main:  common + "daemon_directory = " + bin + "\ncommand_directory = " + bin + "\n", master: masterCF,
	}
}

// tlsConf are the settings of both systems for TLS.
const tlsConf = `smtpd_tls_security_level = may
smtpd_tls_chain_files = %[1]s/conf/chain.pem
smtp_tls_security_level = encrypt
`

// setup writes the configuration and makes the directories.
func (s *system) setup(sinkPort int, l load) error {
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	for _, d := range []string{s.confDir, s.queue, s.dir + "/data"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := command("chown", "postfix", s.dir+"/data").Run(); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	s.port = port
	conf := fmt.Sprintf(s.main, s.dir, sinkPort) + l.conf
	if l.tls {
		conf += fmt.Sprintf(tlsConf, s.dir)
		cert, err := selfsigned.New("bench.example")
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.confDir+"/chain.pem", cert.Chain, 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(s.confDir+"/main.cf", []byte(conf), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(s.confDir+"/master.cf", fmt.Appendf(nil, s.master, port), 0o644); err != nil {
		return err
	}
	return nil
}

// empty reports whether the queue holds no message.
func (s *system) empty() bool {
	for _, q := range []string{"maildrop", "incoming", "active", "deferred"} {
		found := false
		filepath.WalkDir(filepath.Join(s.queue, q), func(_ string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				found = true
				return filepath.SkipAll
			}
			return nil
		})
		if found {
			return false
		}
	}
	return true
}

// memory is the sum of the proportional set sizes of a process group, in bytes.
func memory(pgid int) float64 {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	total := 0.0
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// pid (comm) state ppid pgrp ...; comm may hold blanks.
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) < 3 || f[2] != strconv.Itoa(pgid) {
			continue
		}
		roll, err := os.ReadFile(filepath.Join(filepath.Dir(path), "smaps_rollup"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(roll)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				kb, _ := strconv.Atoi(strings.Fields(rest)[0])
				total += float64(kb) * 1024
			}
		}
	}
	return total
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "TZ=UTC"}
	return cmd
}
