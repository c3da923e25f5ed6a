// micro_go: the cases that Go has.
//
// Those of one thread run with GOMAXPROCS 1, those between threads with 2; spawn_join, spawn_join_1000 and tree with
// NEXUS_WORKERS (without it: 1, 1, and all CPUs).
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const room = 1024

func workers(usual int) int {
	if n, err := strconv.Atoi(os.Getenv("NEXUS_WORKERS")); err == nil && n > 0 {
		return n
	}
	return usual
}

// with is a body that runs with so many processors.
func with(procs int, body func(r *run) int) func(r *run) int {
	return func(r *run) int {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		return body(r)
	}
}

// ---- spawn ----

//go:noinline
func successor(n int) int { return n + 1 }

func spawnJoin(r *run) int {
	done := make(chan int)
	wrong := 0
	for i := 0; i < r.wanted; i++ {
		go func(n int) { done <- successor(n) }(i)
		if <-done != i+1 {
			wrong++
		}
	}
	must(wrong == 0, "every task has returned its successor")
	return r.wanted
}

func spawnJoin1000(r *run) int {
	const batch = 1000
	var group sync.WaitGroup
	results := make([]int, batch)
	ops := 0
	for ; ops < r.wanted; ops += batch {
		group.Add(batch)
		for i := 0; i < batch; i++ {
			go func(n int) {
				results[n] = successor(n)
				group.Done()
			}(i)
		}
		group.Wait()
		for i, got := range results {
			must(got == i+1, "every task has returned its successor")
			results[i] = 0
		}
	}
	return ops
}

func node(height int) int {
	if height == 0 {
		return 1
	}
	var group sync.WaitGroup
	var below [10]int
	group.Add(len(below))
	for i := range below {
		go func(i int) {
			below[i] = node(height - 1)
			group.Done()
		}(i)
	}
	group.Wait()
	count := 1
	for _, n := range below {
		count += n
	}
	return count
}

func tree(r *run) int {
	const size = 1111111
	ops := 0
	for ; ops < r.wanted; ops += size {
		must(node(6) == size, "every task of the tree has been counted")
	}
	return ops
}

// ---- switch ----

func yieldRing(tasks int) func(r *run) int {
	return func(r *run) int {
		each := r.wanted/tasks + 1
		var group sync.WaitGroup
		group.Add(tasks)
		for i := 0; i < tasks; i++ {
			go func() {
				for n := 0; n < each; n++ {
					runtime.Gosched()
				}
				group.Done()
			}()
		}
		group.Wait()
		return each * tasks
	}
}

// ---- channels ----

func chanSameTask(r *run) int {
	channel := make(chan uint64, room)
	wrong := 0
	for i := 0; i < r.wanted; i++ {
		channel <- uint64(i)
		if <-channel != uint64(i) {
			wrong++
		}
	}
	must(wrong == 0, "each message came back")
	return r.wanted
}

// chanTwoTasks serves chan_two_tasks and, with two processors, the cases between threads: Go has one kind of channel.
func chanTwoTasks(r *run) int {
	channel := make(chan uint64, room)
	go func() {
		for i := 0; i < r.wanted; i++ {
			channel <- uint64(i)
		}
		close(channel)
	}()
	next := uint64(0)
	wrong := 0
	for got := range channel {
		if got != next {
			wrong++
		}
		next++
	}
	must(wrong == 0 && next == uint64(r.wanted), "messages arrive in the order they were sent in")
	return r.wanted
}

func chanPingPong(r *run) int {
	there, back := make(chan uint64, 1), make(chan uint64, 1)
	go func() {
		for got := range there {
			back <- got
		}
		close(back)
	}()
	trips := r.wanted/2 + 1
	wrong := 0
	for i := 0; i < trips; i++ {
		there <- uint64(i)
		if <-back != uint64(i) {
			wrong++
		}
	}
	close(there)
	must(wrong == 0, "each message came back")
	return 2 * trips
}

// pin keeps the goroutine on a thread of its own and that on one CPU; both end with the goroutine.
func pin(number int) {
	runtime.LockOSThread()
	var set, one [16]uint64
	size, all := unsafe.Sizeof(set), []int{}
	syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, 0, size, uintptr(unsafe.Pointer(&set)))
	for i := 0; i < 64*len(set); i++ {
		if set[i/64]&(1<<(i%64)) != 0 {
			all = append(all, i)
		}
	}
	if len(all) == 0 {
		return
	}
	if number >= len(all) {
		number = len(all) - 1
	}
	one[all[number]/64] |= 1 << (all[number] % 64)
	syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, size, uintptr(unsafe.Pointer(&one)))
}

// wakeParked: each on its thread and CPU, so that a message wakes a thread.
func wakeParked(r *run) int {
	there, back, done := make(chan int), make(chan int), make(chan bool)
	go func() {
		pin(1)
		for n := range there {
			back <- n
		}
		close(back)
	}()
	go func() {
		pin(0)
		wrong := 0
		start := time.Now()
		for i := 0; i < r.wanted; i++ {
			there <- i
			if <-back != i {
				wrong++
			}
		}
		r.took = time.Since(start)
		close(there)
		done <- wrong == 0
	}()
	must(<-done, "each call was answered once")
	return r.wanted
}

// ---- timers ----

const hour = 3600 * 1000

func random(seed *uint64) uint64 {
	*seed = *seed*6364136223846793005 + 1442695040888963407
	return *seed >> 33
}

func randomDelay(seed *uint64) time.Duration {
	return time.Duration(1000+random(seed)%hour) * time.Millisecond
}

func nothing() {}

// timersOf starts so many timers outside of what is measured: they are kept between the runs of a case.
func timersOf(count int) func() []*time.Timer {
	var timers []*time.Timer
	return func() []*time.Timer {
		seed := uint64(2)
		for len(timers) < count {
			timers = append(timers, time.AfterFunc(randomDelay(&seed), nothing))
		}
		return timers
	}
}

func timerStartStop(count int) func(r *run) int {
	all := timersOf(count)
	return func(r *run) int {
		all()
		extra := time.AfterFunc(time.Hour, nothing)
		extra.Stop()
		seed := uint64(1)
		start := time.Now()
		for i := 0; i < r.wanted; i++ {
			extra.Reset(randomDelay(&seed))
			extra.Stop()
		}
		r.took = time.Since(start)
		return r.wanted
	}
}

func timerReset(count int) func(r *run) int {
	all := timersOf(count)
	return func(r *run) int {
		timers := all()
		seed := uint64(1)
		start := time.Now()
		for i := 0; i < r.wanted; i++ {
			which := random(&seed) % uint64(count)
			timers[which].Reset(randomDelay(&seed))
		}
		r.took = time.Since(start)
		return r.wanted
	}
}

func sleep1ms(r *run) int {
	const sleeps = 300
	late := []time.Duration{}
	for len(late) < r.wanted || len(late) < sleeps {
		due := time.Now().Add(time.Millisecond)
		time.Sleep(time.Millisecond)
		late = append(late, time.Since(due))
	}
	r.counters["p50_us"] = quantile(late, 0.5)
	r.counters["p99_us"] = quantile(late, 0.99)
	return len(late)
}

// ---- files ----

const pageSize, pageCount = 4096, 16384

func pages() *os.File {
	file, err := os.CreateTemp("", "pages")
	must(err == nil, "there is room for the file of pages")
	os.Remove(file.Name())
	page := make([]byte, pageSize)
	for number := uint64(0); number < pageCount; number++ {
		binary.LittleEndian.PutUint64(page, number)
		binary.LittleEndian.PutUint64(page[pageSize-8:], ^number)
		_, err = file.Write(page)
		must(err == nil, "there is room for the file of pages")
	}
	return file
}

func readPages(file *os.File, reads int, seed uint64) {
	page := make([]byte, pageSize)
	for i := 0; i < reads; i++ {
		number := (random(&seed)) % pageCount
		n, _ := file.ReadAt(page, int64(number*pageSize))
		must(n == pageSize && binary.LittleEndian.Uint64(page) == number &&
			binary.LittleEndian.Uint64(page[pageSize-8:]) == ^number, "each read gave its page")
	}
}

func fileRead(tasks int) func(r *run) int {
	var file *os.File
	return func(r *run) int {
		if file == nil {
			file = pages()
		}
		each := r.wanted/tasks + 64
		start := time.Now()
		if tasks == 1 {
			readPages(file, each, 1)
		} else {
			var group sync.WaitGroup
			group.Add(tasks)
			for i := 0; i < tasks; i++ {
				go func(i int) {
					readPages(file, each, uint64(i))
					group.Done()
				}(i)
			}
			group.Wait()
		}
		r.took = time.Since(start)
		return each * tasks
	}
}

// ---- memory ----

func memoryNow() (rss, pageTables float64) {
	text, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(text), "\n") {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f", &kib); n == 1 {
			rss = kib * 1024
		}
		if n, _ := fmt.Sscanf(line, "VmPTE: %f", &kib); n == 1 {
			pageTables = kib * 1024
		}
	}
	return
}

// memoryParked: the time is that of spawning a task, letting it run and park.
func memoryParked(r *run) int {
	const tasks = 100000
	runtime.GC()
	rss, pageTables := memoryNow()
	end := make(chan struct{})
	var asleep, gone sync.WaitGroup
	asleep.Add(tasks)
	gone.Add(tasks)
	start := time.Now()
	for i := 0; i < tasks; i++ {
		go func() {
			asleep.Done()
			<-end
			gone.Done()
		}()
	}
	asleep.Wait()
	runtime.Gosched()
	r.took = time.Since(start)
	rssAfter, pageTablesAfter := memoryNow()
	r.counters["bytes_rss"] = (rssAfter - rss) / tasks
	r.counters["bytes_page_tables"] = (pageTablesAfter - pageTables) / tasks
	close(end)
	gone.Wait()
	return tasks
}

func main() {
	one := func(name string, body func(r *run) int) benchCase { return benchCase{name: name, body: with(1, body)} }
	two := func(name string, body func(r *run) int) benchCase { return benchCase{name: name, body: with(2, body)} }
	cases := []benchCase{
		{name: "spawn_join", body: with(workers(1), spawnJoin)},
		{name: "spawn_join_1000", body: with(workers(1), spawnJoin1000)},
		{name: "tree", body: with(workers(runtime.NumCPU()), tree)},
		one("yield_2", yieldRing(2)),
		one("yield_ring_1000", yieldRing(1000)),
		one("chan_same_task", chanSameTask),
		one("chan_two_tasks", chanTwoTasks),
		one("chan_ping_pong", chanPingPong),
		two("chan_mpsc_threads", chanTwoTasks),
		two("chan_spsc_threads", chanTwoTasks),
		two("wake_parked", wakeParked),
	}
	cases = append(cases, one("sleep_1ms", sleep1ms), one("file_read_4k/1", fileRead(1)),
		one("file_read_4k/32", fileRead(32)), benchCase{name: "memory_parked", body: with(1, memoryParked), once: true})
	// Last: theirs keep running, and would be in the way of the others.
	for _, count := range []int{1000, 10000, 100000, 1000000} {
		cases = append(cases, one(fmt.Sprintf("timer_start_stop/%d", count), timerStartStop(count)),
			one(fmt.Sprintf("timer_reset/%d", count), timerReset(count)))
	}
	runCases(cases)
}
