package service

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// minProcs is how many goroutines may run at least. One that waits for the disk holds
// its place until the runtime notices, which it does late with the timer slack that
// master gives: with a place for each of two processors, two calls of fsync would stop
// everything else.
const minProcs = 8

// tune sets the number of goroutines that run at a time; GOMAXPROCS in the environment
// wins. And it sets the garbage collector for a worker: its live heap is a few hundred
// kilobytes, so with Go's default a collection would run for every four megabytes
// of garbage. The heap may grow to heapRoom before the first; a worker with much
// live memory (thousands of sessions) is collected as usual, so that it does not
// take several times what it needs. GOGC in the environment wins.
func tune() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(runtime.NumCPU(), minProcs))
	}
	if os.Getenv("GOGC") == "" {
		adjustGC()
	}
}

// heapRoom is the heap size, in bytes, below which a collection is not worth it.
const heapRoom = 8 << 20

// gcPercent is the growth that lets a heap with the given live bytes reach
// heapRoom, but never less than Go's default.
func gcPercent(live uint64) int {
	const lowest, highest = 100, 1600
	if live >= heapRoom/2 {
		return lowest
	}
	return int(min((heapRoom-live)*100/max(live, 1), highest))
}

// adjustGC sets the growth by what is live now, and again after each collection:
// an object that nobody holds is finalized by every collection.
func adjustGC() {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	debug.SetGCPercent(gcPercent(sample[0].Value.Uint64()))
	type marker struct{ _ [16]byte }
	runtime.SetFinalizer(new(marker), func(*marker) { adjustGC() })
}
