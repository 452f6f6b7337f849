package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sealpost/lib/service"
)

func TestWrongUseIsExplained(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no command", nil, "a command is missing"},
		{"unknown command", []string{"begin"}, "unknown command: 'begin'"},
		{"unknown option", []string{"-x", "start"}, "invalid option -- 'x'"},
		{"too many words", []string{"start", "now"}, "command 'start' takes 0 arguments, not 1"},
		{"too few words", []string{"verbose", "smtp"}, "command 'verbose' takes 2 arguments, not 1"},
		{"no configuration", []string{"-c", "/nonexistent", "status"}, "/nonexistent/main.cf"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if status := run(tt.args, &out, &errs); status != 1 {
				t.Errorf("exit status %d", status)
			}
			if !strings.Contains(errs.String(), "sealpost: fatal: ") || !strings.Contains(errs.String(), tt.want) {
				t.Errorf("said %q, want %q", errs.String(), tt.want)
			}
		})
	}
}

// configured writes a configuration that is right, with further lines.
func configured(t *testing.T, mainCF, masterCF string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Any program will do for a master that is not started.
	if err := os.Symlink(exe, filepath.Join(dir, "master")); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("queue_directory = %[1]s/queue\ndata_directory = %[1]s/data\ndaemon_directory = %[1]s\n"+
		"maillog_file = %[1]s/maillog\nmyhostname = mail.test\ninet_interfaces = 127.0.0.1\nmail_owner = %[2]s\nsetgid_group = %[3]s\n",
		dir, "nobody", "nogroup")
	for name, text := range map[string]string{"main.cf": text + mainCF, "master.cf": "x unix n - n - - master\n" + masterCF} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestCheckNamesTheMistake: each message names file, line and parameter or field,
// and says what would be right.
func TestCheckNamesTheMistake(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("owners differ for root; run \"make test\", which steps down")
	}
	tests := []struct {
		name           string
		mainCF, master string
		status         int
		want           []string // nothing: not a word of complaint
	}{
		{"nothing wrong", "", "", 0, nil},
		{"unknown parameter", "virtual_mailbox_mpas = x", "", 0, []string{"main.cf, line 9: unused parameter: virtual_mailbox_mpas=x"}},
		{"parameter without effect", "smtpd_milters = inet:localhost:1", "", 0, []string{`main.cf: line 9: parameter "smtpd_milters" is not supported: `}},
		{"all bad values at once", "default_process_limit = many\nsmtputf8_enable = maybe\nmaximal_queue_lifetime = 5 days", "", 1,
			[]string{`line 9: parameter default_process_limit: bad value "many": a number`, `line 10: parameter smtputf8_enable: bad value "maybe"`, `line 11: parameter maximal_queue_lifetime: bad value "5 days"`}},
		{"bad protocol", "inet_protocols = ipv5", "", 1, []string{`main.cf, line 9: parameter inet_protocols: bad value "ipv5": "ipv5" is not one of all, ipv4, ipv6`}},
		{"table type", "virtual_alias_maps = hashh:/etc/x", "", 0, []string{"line 9: parameter virtual_alias_maps: hashh:/etc/x: unsupported dictionary type: hashh; there are bbolt,"}},
		{"table file", "transport_maps = texthash:/nonexistent/x", "", 0, []string{"line 9: parameter transport_maps: texthash:/nonexistent/x: open /nonexistent/x: no such file"}},
		{"inline table", "transport_maps = inline:{ { a.test = smtp:[b.test], } }", "", 0, nil},
		{"tables of databases", "virtual_alias_maps = proxy:pgsql:/nonexistent/p, pipemap:{mysql:/nonexistent/m, debug:ldap:/nonexistent/l}\nrelay_domains = redis:/nonexistent/r", "", 0,
			[]string{"line 9: parameter virtual_alias_maps: pgsql:/nonexistent/p: open ", "virtual_alias_maps: mysql:/nonexistent/m: open ", "virtual_alias_maps: ldap:/nonexistent/l: open ", "line 10: parameter relay_domains: redis:/nonexistent/r: open "}},
		{"tables of checks", "header_checks = regexp:/nonexistent/h\nsmtp_requiretls_policy = texthash:/nonexistent/t, enforce", "", 0,
			[]string{"line 9: parameter header_checks: regexp:/nonexistent/h: open ", "line 10: parameter smtp_requiretls_policy: texthash:/nonexistent/t: open "}},
		{"tables of restrictions", "smtpd_recipient_restrictions = check_recipient_access hash:/nonexistent/h, own, { check_sender_access cidr:/nonexistent/c }\nsmtpd_restriction_classes = own\nown = check_client_access pcre:/nonexistent/p", "", 0,
			[]string{"line 9: parameter smtpd_recipient_restrictions: hash:/nonexistent/h: open ", "smtpd_recipient_restrictions: cidr:/nonexistent/c: open ", "line 11: parameter own: pcre:/nonexistent/p: open "}},
		{"tables of a service", "", "y unix n - n - - smtpd\n  -o smtpd_client_restrictions=check_client_access,hash:/nonexistent/h", 0,
			[]string{"master.cf: line 2: service y: parameter smtpd_client_restrictions: hash:/nonexistent/h: open "}},
		{"addresses of servers are no tables", "smtpd_recipient_restrictions = check_policy_service unix:private/policy, check_policy_service inet:127.0.0.1:1, reject_unauth_destination\nvirtual_transport = lmtp:unix:private/x", "", 0, nil},
		{"caches need not be there yet", "smtp_tls_session_cache_database = btree:${data_directory}/smtp_scache\nalias_database = hash:/nonexistent/aliases", "", 0, nil},
		{"network", "mynetworks = 127.0.0.0/33", "", 0, []string{`line 9: parameter mynetworks: bad mask length in "127.0.0.0/33"`}},
		{"line without =", "hello", "", 1, []string{"main.cf, line 9: missing '=' after attribute name"}},
		{"type", "", "y inett n - n - - master", 1, []string{`master.cf: line 2: field "type": bad value: "inett" (expected inet, unix,`}},
		{"log file", "maillog_file = /etc/x", "", 1, []string{`fatal: maillog_file "/etc/x" is in none of the directories of maillog_file_prefixes (`}},
		{"port", "", "127.0.0.1:nosuch inet n - n - - master", 1, []string{`master.cf: line 2: service name 127.0.0.1:nosuch: unknown port "nosuch"`}},
		{"fields", "", "y unix n - n -", 1, []string{"master.cf: line 2: bad field count: 6 fields, 8 are needed"}},
		{"program", "", "y unix n - n - - nosuch", 0, []string{"master.cf: line 2: service y does not work: there is no program ", "/nosuch; comment it out with postconf -M# y/unix"}},
		{"TLS level of OpenSSL's debugging", "smtpd_tls_loglevel = 4", "", 0, []string{`line 9: parameter smtpd_tls_loglevel: log level "4": packets of a handshake cannot be logged`}},
		{"TLS cipher of a service", "", "y unix n - n - - master\n  -o smtpd_tls_exclude_ciphers=XYZZY", 0, []string{`master.cf: line 2: service y: parameter smtpd_tls_exclude_ciphers: excluded cipher "XYZZY" is not known`}},
		{"TLS within its means", "smtpd_tls_protocols = >=TLSv1.2\nsmtpd_tls_exclude_ciphers = aNULL, RC4", "", 0, nil},
		{"TLS certificate file", "smtpd_tls_chain_files = /nonexistent/chain.pem", "", 0, []string{"main.cf: TLS of smtpd: open /nonexistent/chain.pem: no such file"}},
		{"clients that may speak for others", "smtpd_authorized_xclient_hosts = 127.0.0.0/33", "", 0, []string{`line 9: parameter smtpd_authorized_xclient_hosts: bad mask length in "127.0.0.0/33"`}},
		{"a filter that cannot be", "", "y unix n - n - - smtpd\n  -o smtpd_proxy_filter=unix:", 0, []string{`master.cf: line 2: service y does not start: parameter smtpd_proxy_filter: bad endpoint "unix:"; specify host:port`}},
		{"a filter for its own mail", "smtpd_proxy_filter = 127.0.0.1:10025", "y unix n - n - - smtpd", 0, []string{"master.cf: line 2: service y: smtpd_proxy_filter is set for every smtpd: mail that the filter gives back here goes to it again; the server behind it needs -o smtpd_proxy_filter="}},
		{"XFORWARD and a filter before the queue", "smtpd_authorized_xforward_hosts = 127.0.0.0/8\nsmtp_send_xforward_command = yes\nsmtpd_proxy_filter = 127.0.0.1:10025\nsmtpd_proxy_options = speed_adjust\nsmtpd_proxy_timeout = 10s", "", 0, nil},
		{"a queue without room", "queue_minfree = 1000000000000000000", "", 0, []string{"/queue has ", "the SMTP server refuses mail unless there are more than 1000000000000000000 (queue_minfree"}},
		{"override", "", "y unix n - n - - master\n  -o maximal_backoff_time=soon", 0, []string{`master.cf: line 2: service y does not start: -o: parameter maximal_backoff_time: bad value "soon"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := configured(t, tt.mainCF+"\n", tt.master+"\n")
			var out, errs bytes.Buffer
			if status := run([]string{"-c", dir, "check"}, &out, &errs); status != tt.status {
				t.Errorf("exit status %d", status)
			}
			for _, want := range tt.want {
				if !strings.Contains(errs.String(), want) {
					t.Errorf("lacks %q:\n%s", want, errs.String())
				}
			}
			if len(tt.want) == 0 && strings.Contains(errs.String(), "warning") {
				t.Errorf("complains:\n%s", errs.String())
			}
		})
	}
}

func TestNamed(t *testing.T) {
	w := func(name, program, socket string) worker {
		return worker{WorkerStatus: &service.WorkerStatus{Service: name, Program: program}, path: "private/ctl/" + socket}
	}
	all := []worker{w("smtp", "smtp", "unix.smtp"), w("smtp", "smtpd", "inet.smtp"), w("relay", "smtp", "unix.relay"), w("127.0.0.1:2525", "smtpd", "inet.127.0.0.1:2525")}
	for name, want := range map[string]int{"smtp": 2, "smtp/inet": 1, "smtpd": 2, "relay": 1, "cleanup": 0} {
		if got := named(all, name); len(got) != want {
			t.Errorf("%s names %d workers, want %d", name, len(got), want)
		}
	}
}

func TestResolvConf(t *testing.T) {
	tests := []struct {
		name, text string
		servers    []string
		trust      bool
	}{
		{"empty", "", nil, false},
		{"trusted", "nameserver 127.0.0.1\noptions edns0 trust-ad\n", []string{"127.0.0.1"}, true},
		{"several", "nameserver ::1\n# nameserver 9.9.9.9\nnameserver 10.0.0.1\noptions edns0\n", []string{"::1", "10.0.0.1"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			servers, trust := resolvConf(tt.text)
			if !slices.Equal(servers, tt.servers) || trust != tt.trust {
				t.Errorf("got %q %v, want %q %v", servers, trust, tt.servers, tt.trust)
			}
		})
	}
}

func TestStrftime(t *testing.T) {
	when := time.Date(2026, 11, 22, 7, 8, 9, 0, time.UTC)
	if got := strftime("%Y%m%d-%H%M%S%%", when); got != "20261122-070809%" {
		t.Errorf("got %q", got)
	}
}

// TestSetgidProblems: what is wrong with postdrop is said with the command that mends it.
func TestSetgidProblems(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postdrop")
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	gid := os.Getgid()
	for _, tt := range []struct {
		mode os.FileMode
		gid  int
		want string // "" none
	}{
		{0o755 | os.ModeSetgid, gid, ""},
		{0o755, gid, "does not run with setgid_group = drop (it has group " + strconv.Itoa(gid) + ", mode 0755): nobody can; chgrp drop " + path + " && chmod 2755 " + path},
		{0o755 | os.ModeSetgid, gid + 1, "does not run with setgid_group = drop"},
		{0o750 | os.ModeSetgid, gid, "does not run with setgid_group = drop"},
		{0o755 | os.ModeSetgid | os.ModeSetuid, gid, "is set-uid, which it must not be; chmod u-s " + path},
		{0o775 | os.ModeSetgid, gid, "can be changed by others than root"},
	} {
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(setgidProblems(path, "drop", tt.gid, "nobody can"), "\n")
		if !strings.Contains(got, tt.want) {
			t.Errorf("mode %v, group %d: %q lacks %q", tt.mode, tt.gid, got, tt.want)
		}
		if os.Geteuid() == 0 && tt.want == "" && got != "" || strings.Contains(got, "%!") {
			t.Errorf("mode %v, group %d: %q", tt.mode, tt.gid, got)
		}
	}
	if got := setgidProblems(path+"x", "drop", gid, "nobody can"); len(got) != 1 || !strings.Contains(got[0], path+"x: no such file or directory: nobody can") {
		t.Errorf("no such program: %q", got)
	}
}

// TestLockOfAnother: an ordinary user is not told that the system of root does not run.
func TestLockOfAnother(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read every lock; run \"make test\", which steps down")
	}
	dir := configured(t, "", "")
	pid := filepath.Join(dir, "queue", "pid", "master.pid")
	if err := os.MkdirAll(filepath.Dir(pid), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pid, nil, 0); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"status", "start", "stop", "reload", "flush"} {
		var out, errs bytes.Buffer
		status := run([]string{"-c", dir, verb}, &out, &errs)
		if text := errs.String(); status != 1 || !strings.Contains(text, "fatal: lock of the mail system: open "+pid+": permission denied; this is for root") || strings.Contains(text, "running") {
			t.Errorf("%s: status %d: %s", verb, status, text)
		}
	}
}
