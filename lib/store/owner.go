package store

import (
	"io/fs"
	"os"
	"syscall"
)

// owner is who a file belongs to.
func owner(st fs.FileInfo) (uid, gid int) {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return int(sys.Uid), int(sys.Gid)
	}
	return os.Getuid(), os.Getgid()
}
