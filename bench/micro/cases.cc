/* cases.cc: the cases of a program, listed, chosen and run. */
#include "cases.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <iostream>
#include <regex>
#include <sched.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace cases
{

static std::vector<std::string> &names()
{
    static std::vector<std::string> all;
    return all;
}

void add(const std::string &name, Body body, Clock clock)
{
    names().push_back(name);
    auto *one = benchmark::RegisterBenchmark(name.c_str(), std::move(body));
    one->MeasureProcessCPUTime();
    if (clock == Clock::REAL)
        one->UseRealTime();
    else
        one->UseManualTime();
}

/* Prints each case under the name it was added with. */
template <class Base>
class Plain : public Base
{
  public:
    void ReportRuns(const std::vector<benchmark::BenchmarkReporter::Run> &runs) override
    {
        auto plain = runs;
        for (auto &run : plain)
            run.run_name.time_type.clear();
        Base::ReportRuns(plain);
    }
};

/* What argument "--key=VALUE" says, or NULL. */
static const char *value_of(const char *argument, const char *key)
{
    size_t len = std::strlen(key);
    return std::strncmp(argument, key, len) == 0 && argument[len] == '=' ? argument + len + 1 : nullptr;
}

static bool is_chosen(const std::string &name, const std::string &filter)
{
    bool negated = !filter.empty() && filter[0] == '-';
    return std::regex_search(name, std::regex(negated ? filter.substr(1) : filter)) != negated;
}

/* The library matches the names that it has lengthened: an exact list of those that were chosen by their own. */
static std::string library_filter(const std::string &filter)
{
    std::string list;
    for (const auto &name : names())
        if (is_chosen(name, filter))
            list += (list.empty() ? "^(" : "|") + name;
    return list.empty() ? "^$" : list + ")/process_time/(real|manual)_time$";
}

int run(int argc, char **argv)
{
    std::string filter = ".";
    bool json = false, list = false;
    std::vector<char *> rest;
    for (int i = 0; i < argc; i++) {
        if (const char *text = value_of(argv[i], "--benchmark_filter"))
            filter = text;
        else if (const char *format = value_of(argv[i], "--benchmark_format"))
            json = std::strcmp(format, "json") == 0;
        else if (std::strcmp(argv[i], "--benchmark_list_tests") == 0)
            list = true;
        else
            rest.push_back(argv[i]);
    }
    if (list) {
        for (const auto &name : names())
            if (is_chosen(name, filter))
                std::cout << name << "\n";
        return 0;
    }
    int count = static_cast<int>(rest.size());
    benchmark::Initialize(&count, rest.data());
    if (benchmark::ReportUnrecognizedArguments(count, rest.data()))
        return 1;
    Plain<benchmark::JSONReporter> as_json;
    Plain<benchmark::ConsoleReporter> as_table;
    benchmark::BenchmarkReporter *reporter = &as_table;
    if (json)
        reporter = &as_json;
    size_t ran = benchmark::RunSpecifiedBenchmarks(reporter, library_filter(filter));
    benchmark::Shutdown();
    return ran == 0;
}

void must(bool holds, const char *claim)
{
    if (holds)
        return;
    std::fprintf(stderr, "not so: %s\n", claim);
    std::fflush(nullptr);
    _exit(1); /* from whatever thread this is: no destructors */
}

int64_t now_ns()
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

double quantile(const int64_t *samples, size_t count, double share)
{
    std::vector<int64_t> sorted(samples, samples + count);
    std::sort(sorted.begin(), sorted.end());
    return count == 0 ? 0 : static_cast<double>(sorted[static_cast<size_t>(share * static_cast<double>(count - 1))]);
}

/* Those the process had at its start: a thread inherits the one cpu of a thread that is pinned already. */
static cpu_set_t cpus_at_start()
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    sched_getaffinity(0, sizeof cpus, &cpus);
    return cpus;
}

static const cpu_set_t allowed = cpus_at_start();

void pin(unsigned number)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed)) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            if (number-- == 0)
                break;
        }
    sched_setaffinity(0, sizeof one, &one);
}

} // namespace cases
