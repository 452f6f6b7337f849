package queue

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Digits of long ids: base 52 for the time, base 51 (without the last, which is
// the separator) for the inode number (§4.2).
const (
	digits     = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
	separator  = 'z'
	secDigits  = 6
	usecDigits = 4
)

// Limits of names that a peer gives (§4.2).
const (
	maxID   = 255
	maxName = 100
)

// ValidID reports whether a name that came from a peer can be a queue id:
// letters, digits and "_", at most 255 (§4.2).
func ValidID(id string) bool { return validChars(id, maxID, true) }

// ValidName reports whether a name that came from a peer can be that of a
// queue: letters and digits, at most 100.
func ValidName(name string) bool { return validChars(name, maxName, false) }

func validChars(s string, limit int, underscore bool) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z':
		case c == '_' && underscore:
		default:
			return false
		}
	}
	return true
}

// makeID makes the id of a file that was created at t.
func makeID(t time.Time, inode uint64, long bool) string {
	usec := t.Nanosecond() / 1000
	b := make([]byte, 0, 32)
	if long {
		b = appendBase(b, uint64(t.Unix()), 52, secDigits)
		b = appendBase(b, uint64(usec), 52, usecDigits)
		b = append(b, separator)
		return string(appendBase(b, inode, 51, 1))
	}
	const hex = "0123456789ABCDEF"
	for shift := 16; shift >= 0; shift -= 4 {
		b = append(b, hex[usec>>shift&0xf])
	}
	b = strconv.AppendUint(b, inode, 16)
	return strings.ToUpper(string(b))
}

// appendBase appends v with at least width digits.
func appendBase(b []byte, v, base uint64, width int) []byte {
	var text [24]byte
	i := len(text)
	for ; v > 0 || len(text)-i < width; v /= base {
		i--
		text[i] = digits[v%base]
	}
	return append(b, text[i:]...)
}

// longID splits a long id; ok is false for a short one, or any other name.
func longID(id string) (usec string, ok bool) {
	z := strings.LastIndexByte(id, separator)
	if z < secDigits+usecDigits {
		return "", false
	}
	return id[z-usecDigits : z], true
}

// hashName is the text whose characters name the hash directories of an id:
// the id, or the microseconds of a long id in hexadecimal (§4.1).
func hashName(id string) string {
	text, ok := longID(id)
	if !ok {
		return id
	}
	usec, ok := base52(text)
	if !ok {
		return id
	}
	hex := strings.ToUpper(strconv.FormatInt(int64(usec), 16))
	for len(hex) < 5 {
		hex = "0" + hex
	}
	return hex
}

// base52 reads the digits of a time.
func base52(text string) (n int, ok bool) {
	for i := range len(text) {
		d := strings.IndexByte(digits, text[i])
		if d < 0 {
			return 0, false
		}
		n = 52*n + d
	}
	return n, true
}

// IDInode is the inode number that an id names; ok is false when it names none.
// A file whose inode number differs was copied or restored and must be renamed.
func IDInode(id string) (inode uint64, ok bool) {
	if _, long := longID(id); long {
		for _, c := range []byte(id[strings.LastIndexByte(id, separator)+1:]) {
			d := strings.IndexByte(digits, c)
			if d < 0 || inode > (1<<64-1)/51 {
				return 0, false
			}
			inode = 51*inode + uint64(d)
		}
		return inode, !strings.HasSuffix(id, string(separator))
	}
	if len(id) < 6 {
		return 0, false
	}
	inode, err := strconv.ParseUint(id[5:], 16, 64)
	return inode, err == nil
}

// Repaired is the id that the file with the inode number must have instead of id
// (§4.10): a short id ends in the inode number. A long id need not name it, for it
// is not used twice anyway, unless redundant is set; without
// enable_long_queue_ids a long id becomes a short one. ok is false when the name
// is no id that this can be done to.
func (q *Queue) Repaired(id string, inode uint64, redundant bool) (repaired string, ok bool) {
	has, named := IDInode(id)
	text, long := longID(id)
	if !long {
		if len(id) < 5 || strings.Trim(id, "0123456789ABCDEF") != "" {
			return "", false
		}
		if named && has == inode {
			return id, true
		}
		return id[:5] + strings.ToUpper(strconv.FormatUint(inode, 16)), true
	}
	usec, ok := base52(text)
	switch {
	case !ok || !named:
		return "", false
	case !q.long:
		return fmt.Sprintf("%05X%X", usec, inode), true
	case redundant && has != inode:
		z := strings.LastIndexByte(id, separator)
		return string(appendBase([]byte(id[:z+1]), inode, 51, 1)), true
	}
	return id, true
}
