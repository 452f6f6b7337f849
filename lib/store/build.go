package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"unsafe"

	"go.etcd.io/bbolt"

	"sealpost/lib/atomicfile"
)

// Entry is a key and its value.
type Entry struct{ Key, Value string }

// Build makes the table NAME.bbolt of entries with different keys, in place of one
// that is there. perm is the mode of a new file; one that is there keeps its own, and
// its owner where that can be. The entries are sorted in place. On error the old table
// is intact.
func Build(ctx context.Context, name string, entries []Entry, perm fs.FileMode) error {
	return replace(ctx, name, perm, func(tmp *os.File) error {
		return write(tmp, func(db *bbolt.DB) error { return fill(db, entries) })
	})
}

// Change is a table that is being changed.
type Change struct{ b *bbolt.Bucket }

// Get is the value of a key, with the changes so far.
func (c *Change) Get(key string) (value string, found bool) {
	v := c.b.Get([]byte(key))
	return string(v), v != nil
}

// Put sets the value of a key.
func (c *Change) Put(key, value string) error { return c.b.Put([]byte(key), []byte(value)) }

// Delete removes a key; it need not be there.
func (c *Change) Delete(key string) error { return c.b.Delete([]byte(key)) }

// Update changes a copy of the table NAME.bbolt and puts it in the table's place. With
// create one that is not there is made, with mode perm. When fn returns an error nothing
// changes.
func Update(ctx context.Context, name string, create bool, perm fs.FileMode, fn func(*Change) error) error {
	return replace(ctx, name, perm, func(tmp *os.File) error {
		old, err := os.Open(name + Suffix)
		switch {
		case errors.Is(err, fs.ErrNotExist) && create:
		case err != nil:
			return err
		default:
			defer old.Close()
			size, err := verify(old)
			if err != nil {
				return fmt.Errorf("database %s is %w", old.Name(), err)
			}
			if _, err := io.Copy(tmp, io.NewSectionReader(old, 0, size)); err != nil {
				return err
			}
		}
		return write(tmp, func(db *bbolt.DB) error {
			return db.Update(func(tx *bbolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists(bucket)
				if err != nil {
					return err
				}
				return fn(&Change{b})
			})
		})
	})
}

// replace has fn write the new table into a temporary file, which then takes the
// table's place, one writer after the other. A link in the table's place is replaced,
// not followed.
func replace(ctx context.Context, name string, perm fs.FileMode, fn func(tmp *os.File) error) (err error) {
	path := name + Suffix
	dir, base := filepath.Split(path)
	unlock, err := lockWriters(ctx, dir+"."+base+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if dir == "" {
		dir = "."
	}
	tmp, err := os.CreateTemp(dir, "."+base+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
		tmp.Close()
	}()
	if err := fn(tmp); err != nil {
		return err
	}
	if err := inherit(tmp, path, perm); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return atomicfile.SyncDir(dir)
}

// inherit gives the new file the mode and the owner of the old one, or perm.
func inherit(tmp *os.File, path string, perm fs.FileMode) error {
	if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() {
		perm = st.Mode().Perm()
		uid, gid := owner(st)
		if mine, err := tmp.Stat(); err != nil {
			return err
		} else if u, g := owner(mine); (u != uid || g != gid) && tmp.Chown(uid, gid) != nil && os.Geteuid() == 0 {
			return fmt.Errorf("cannot give %s to the owner of %s", tmp.Name(), path)
		}
	}
	return tmp.Chmod(perm)
}

// write runs fn on a database in the file and adds the trailer.
func write(tmp *os.File, fn func(*bbolt.DB) error) (err error) {
	db, err := bbolt.Open(tmp.Name(), 0o600, &bbolt.Options{OpenFile: sameFile(tmp), NoFreelistSync: true, NoSync: true, NoGrowSync: true,
		FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = fn(db)
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	st, err := tmp.Stat()
	if err != nil {
		return err
	}
	sum := crc32.New(castagnoli())
	if _, err := io.CopyBuffer(sum, io.NewSectionReader(tmp, 0, st.Size()), make([]byte, 1<<20)); err != nil {
		return err
	}
	trailer := []byte(magic)
	trailer = binary.BigEndian.AppendUint64(trailer, uint64(st.Size()))
	trailer = binary.BigEndian.AppendUint32(trailer, sum.Sum32())
	_, err = tmp.WriteAt(trailer, st.Size())
	return err
}

// batch is how many entries are written in one transaction: the pages of one are in
// memory until it ends.
const batch = 50_000

// fill writes the entries in the order of their keys, so that pages are full and each
// is written once.
func fill(db *bbolt.DB, entries []Entry) error {
	sort.Slice(entries, func(i, j int) bool { return entries[i].Key < entries[j].Key })
	for first := true; first || len(entries) > 0; first = false {
		n := min(batch, len(entries))
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucket)
			if err != nil {
				return err
			}
			b.FillPercent = 1
			for _, e := range entries[:n] {
				if err := b.Put(bytesOf(e.Key), bytesOf(e.Value)); err != nil {
					return fmt.Errorf("key %.100q: %w", e.Key, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// bytesOf is a string's bytes, which bbolt does not change.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
