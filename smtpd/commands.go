package main

import (
	"bytes"
	"context"
	"strings"
	"unicode/utf8"

	"sealpost/lib/ehlo"
	"sealpost/lib/header"
	"sealpost/lib/maillog"
	"sealpost/lib/smtpio"
)

// Places in the statistics of a session, in the order in which the disconnect
// line shows them (protocols.md §7.2).
const (
	cmdHelo = iota
	cmdEhlo
	cmdXclient
	cmdXforward
	cmdStartTLS
	cmdAuth
	cmdMail
	cmdRcpt
	cmdData
	cmdBdat
	cmdRset
	cmdNoop
	cmdVrfy
	cmdEtrn
	cmdQuit
	cmdHelp
	cmdUnknown
	numCommands
)

var statisticNames = [numCommands]string{
	"helo", "ehlo", "xclient", "xforward", "starttls", "auth", "mail", "rcpt", "data",
	"bdat", "rset", "noop", "vrfy", "etrn", "quit", "help", "unknown",
}

// outcome of a command.
type outcome int

const (
	accepted outcome = iota
	refused          // counted as an error where the reply was sent
	hangup           // the session is over: the reply was the last one
	broken           // the connection is
)

// A row of the command table.
type commandRow struct {
	verb  string
	place int // in the statistics
	run   func(s *session, ctx context.Context, arg string) (outcome, error)
	// last: the command must be the last one of a pipelined group (RFC 2920 §3.1).
	last bool
	// junk: counted against smtpd_junk_command_limit.
	junk bool
	// always: allowed in a session that was refused.
	always bool
	// plain: allowed in the clear where TLS is required.
	plain bool
	// payload: what follows the command line belongs to the command.
	payload bool
	// refused answers the command where it is not even looked at: its payload is read.
	refused func(s *session, arg, reply string) (outcome, error)
}

// commandTable has the commands; what EHLO announces is in keywords.
var commandTable = []commandRow{
	{verb: "HELO", place: cmdHelo, run: (*session).helo, plain: true, last: true},
	{verb: "EHLO", place: cmdEhlo, run: (*session).ehlo, plain: true, last: true},
	{verb: "MAIL", place: cmdMail, run: (*session).mail},
	{verb: "RCPT", place: cmdRcpt, run: (*session).rcpt},
	{verb: "DATA", place: cmdData, run: (*session).data, last: true},
	{verb: "BDAT", place: cmdBdat, run: (*session).bdat, payload: true, refused: (*session).bdatRefused},
	{verb: "RSET", place: cmdRset, run: (*session).rset, junk: true},
	{verb: "NOOP", place: cmdNoop, run: (*session).noop, plain: true, last: true, junk: true},
	{verb: "VRFY", place: cmdVrfy, run: (*session).vrfy, last: true, junk: true},
	{verb: "ETRN", place: cmdEtrn, run: (*session).etrn, last: true, junk: true},
	{verb: "QUIT", place: cmdQuit, run: (*session).quitCommand, plain: true, always: true},
	{verb: "HELP", place: cmdHelp, run: (*session).help, last: true, junk: true},
	{verb: "STARTTLS", place: cmdStartTLS, run: (*session).startTLS, plain: true,
		payload: true}, // what follows in the clear is dropped, not read (security-cases.md §2.D)
	{verb: "AUTH", place: cmdAuth, run: (*session).auth, last: true},
	{verb: "XCLIENT", place: cmdXclient, run: (*session).xclient, plain: true, last: true},
	{verb: "XFORWARD", place: cmdXforward, run: (*session).xforward},
}

func findCommand(verb []byte) *commandRow {
	if len(verb) < 4 || len(verb) > 8 {
		return nil
	}
	for i := range commandTable {
		if row := &commandTable[i]; len(row.verb) == len(verb) && equalFoldASCII(verb, row.verb) {
			return row
		}
	}
	return nil
}

// equalFoldASCII compares with a word in upper case.
func equalFoldASCII(b []byte, upper string) bool {
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}

// command executes one command line.
func (s *session) command(ctx context.Context, line smtpio.Line) error {
	text := line.Text
	s.script.in(text)
	if line.BareLF {
		s.bareLF = true
		if s.p.bareLF == bareLFReject && !s.exempt {
			s.logReject("bare <LF> received", nil)
			s.fail(itoa(int64(s.p.BareLFCode)), " 5.5.2 ", s.p.MyHostname, " Error: bare <LF> received")
			return errQuit
		}
	}
	verb, arg := splitVerb(text)
	if len(verb) == 0 {
		s.count(cmdUnknown, false)
		s.fail("500 5.5.2 Error: bad syntax")
		return nil
	}
	if s.isNoop(verb) {
		s.where = "NOOP"
		s.count(cmdNoop, true)
		s.reply("250 2.0.0 Ok")
		return nil
	}
	row := findCommand(verb)
	// A binary protocol is told so, not that its text is malformed; and what follows a
	// malformed BDAT must not be taken for commands.
	binary, chunk := verb[0] < ' ', row != nil && row.refused != nil
	if s.p.SMTPUTF8 && !binary && !chunk && !utf8.Valid(text) {
		s.count(cmdUnknown, false)
		s.where = "UNKNOWN"
		s.fail("500 5.5.2 Error: bad UTF-8 syntax")
		return nil
	}
	if row == nil || line.BareCR && bytes.IndexByte(verb, '\r') >= 0 {
		return s.unknown(ctx, verb, text)
	}
	s.where = row.verb
	if s.denied && !row.always {
		return s.turnDown(row, arg, "503 5.7.0 Error: access denied for "+s.client.text)
	}
	if s.improperPipelining(row) {
		s.count(row.place, false)
		s.script.had |= problemProtocol
		s.replyf("554 5.5.0 Error: SMTP protocol synchronization")
		return errQuit
	}
	if s.needTLS() && !row.plain {
		return s.turnDown(row, arg, "530 5.7.0 Must issue a STARTTLS command first")
	}
	if row.junk && s.p.JunkCommands > 0 {
		if s.junk++; s.junk > s.p.JunkCommands+1 {
			s.errors++
		}
	}
	s.conn.SetInterruptible(false)
	s.text = text
	result, err := row.run(s, ctx, string(arg))
	return s.done(row, result, err)
}

// turnDown answers a command that is not looked at.
func (s *session) turnDown(row *commandRow, arg []byte, reply string) error {
	if row.refused != nil {
		result, err := row.refused(s, string(arg), reply)
		return s.done(row, result, err)
	}
	s.fail(reply)
	return s.done(row, refused, nil)
}

func (s *session) done(row *commandRow, result outcome, err error) error {
	s.count(row.place, result == accepted)
	if result == hangup {
		return errQuit
	}
	return err
}

// splitVerb takes the first word off a command line.
func splitVerb(line []byte) (verb, arg []byte) {
	line = bytes.Trim(line, " \t")
	i := bytes.IndexAny(line, " \t")
	if i < 0 {
		return line, nil
	}
	return line[:i], bytes.TrimLeft(line[i:], " \t")
}

func (s *session) isNoop(verb []byte) bool {
	for _, word := range s.p.NoopCmds {
		if len(word) == len(verb) && strings.EqualFold(word, string(verb)) {
			return true
		}
	}
	return false
}

// unknown answers what is not a command, or a program that does not speak SMTP.
func (s *session) unknown(ctx context.Context, verb, text []byte) error {
	s.where = "UNKNOWN"
	s.count(cmdUnknown, false)
	if s.denied {
		s.fail("503 5.7.0 Error: access denied for ", s.client.text)
		return nil
	}
	forbidden, err := s.p.forbidden.Match(ctx, string(verb))
	if err != nil {
		s.log.Warnf("parameter smtpd_forbidden_commands: %v", err)
	}
	if _, _, isHeader := header.Line(verb); forbidden || isHeader {
		s.log.Warnf("non-SMTP command from %s: %s", s.client.text, printable(text, 100))
		s.script.had |= problemProtocol
		s.reply("221 2.7.0 I can break rules, too. Goodbye.")
		return errQuit
	}
	s.fail("500 5.5.2 Error: command not recognized")
	return nil
}

// improperPipelining reports a client that sent more than it may before it saw
// the reply to this command.
func (s *session) improperPipelining(row *commandRow) bool {
	if !s.p.NoPipelining || s.standAlone || row.place == cmdQuit || row.payload || s.conn.Buffered() == 0 {
		return false
	}
	allowed := s.extended && !s.discard.Has(ehlo.Pipelining)
	if allowed && !row.last {
		return false
	}
	s.log.Infof("improper command pipelining after %s from %s: %s",
		row.verb, s.client.text, printable(s.conn.Peek(100), 100))
	return true
}

// printable shows bytes of a peer with C escapes, at most limit of them.
func printable(b []byte, limit int) string {
	var out []byte
	for _, c := range b[:min(len(b), limit)] {
		switch {
		case c == '\r':
			out = append(out, `\r`...)
		case c == '\n':
			out = append(out, `\n`...)
		case c == '\t':
			out = append(out, `\t`...)
		case c < ' ' || c == 0x7f:
			out = append(out, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

// hasControl reports control characters, NUL, CR and LF included; they are not
// part of any command's argument (decision 21). A tab is white space.
func hasControl(arg string) bool {
	for i := range len(arg) {
		if c := arg[i]; c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// logReject logs that the current command was refused.
func (s *session) logReject(text string, rcpt *string) {
	s.logAction("reject", text, rcpt)
}

func (s *session) logAction(action, text string, rcpt *string) {
	ev := &maillog.Reject{Action: action, Where: s.where, Client: s.client.text, Text: text,
		Proto: s.protocol, Helo: s.heloName, SASLUsername: s.login.user}
	if t := s.txn; t != nil {
		ev.QueueID = t.queueID()
		ev.HasFrom, ev.From = true, s.logAddr(t.sender)
		if t.rcpts == 1 && rcpt == nil {
			rcpt = &t.firstRcpt
		}
	}
	if rcpt != nil {
		ev.HasTo, ev.To = true, s.logAddr(*rcpt)
	}
	s.log.Log(maillog.Info, ev)
}
