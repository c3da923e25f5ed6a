package main

// What Google Benchmark is to the others: options, as many operations as fill the time, its JSON.

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"sort"
	"syscall"
	"time"
)

// A run of a case: the body does at least wanted operations, in whole batches, and says how many.
type run struct {
	wanted   int
	counters map[string]float64
	took     time.Duration // of the operations alone, where the body measures that itself
}

type benchCase struct {
	name string
	body func(r *run) int
	once bool // one batch is enough, and dear
}

type result map[string]interface{}

// must ends the program: a figure of work that was not done right is worth nothing.
func must(holds bool, claim string) {
	if !holds {
		fmt.Fprintln(os.Stderr, "not so:", claim)
		os.Exit(1)
	}
}

func processCPU() time.Duration {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func measure(c benchCase, minTime time.Duration) result {
	for wanted := 100; ; {
		r := &run{wanted: wanted, counters: map[string]float64{}}
		cpu, start := processCPU(), time.Now()
		done := c.body(r)
		took, cpu := time.Since(start), processCPU()-cpu
		if r.took > 0 {
			took = r.took
		}
		if c.once || took >= minTime || wanted >= 1e9 {
			one := result{"name": c.name, "run_name": c.name, "run_type": "iteration", "repetitions": 1,
				"repetition_index": 0, "threads": 1, "iterations": done,
				"real_time": float64(took.Nanoseconds()) / float64(done),
				"cpu_time":  float64(cpu.Nanoseconds()) / float64(done), "time_unit": "ns"}
			for key, value := range r.counters {
				one[key] = value
			}
			return one
		}
		wanted = done * 10
		if took > minTime/10 {
			wanted = int(float64(done)*1.4*float64(minTime)/float64(took)) + 1
		}
	}
}

func quantile(samples []time.Duration, share float64) float64 {
	sorted := append([]time.Duration(nil), samples...)
	sort.Slice(sorted, func(a, b int) bool { return sorted[a] < sorted[b] })
	return float64(sorted[int(share*float64(len(sorted)-1))].Nanoseconds()) / 1000
}

func runCases(cases []benchCase) {
	filter := flag.String("benchmark_filter", ".", "regular expression for names")
	minTime := flag.Float64("benchmark_min_time", 0.5, "seconds")
	format := flag.String("benchmark_format", "console", "console or json")
	list := flag.Bool("benchmark_list_tests", false, "print names")
	flag.Parse()
	chosen, err := regexp.Compile(*filter)
	if err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "micro_go: arguments are not understood")
		os.Exit(1)
	}
	results := []result{}
	for _, c := range cases {
		if !chosen.MatchString(c.name) {
			continue
		}
		if *list {
			fmt.Println(c.name)
			continue
		}
		one := measure(c, time.Duration(*minTime*1e9))
		results = append(results, one)
		if *format != "json" {
			fmt.Printf("%-28s %12.1f ns %12.1f ns %12d\n", c.name, one["real_time"], one["cpu_time"], one["iterations"])
		}
	}
	if *list {
		return
	}
	if *format == "json" {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		out.Encode(map[string]interface{}{"context": map[string]interface{}{"executable": os.Args[0]}, "benchmarks": results})
	}
	if len(results) == 0 {
		os.Exit(1)
	}
}
