/*
 * unwind.c: backtraces of tasks that do not run, and of threads that a signal has stopped.
 *
 * The stack is a copy, so it holds still and every read of it is checked. Where each function has put its return
 * address and its caller's registers is in the unwind tables of its file (.eh_frame, there also at -O2 without frame
 * pointers and for C); they are found by the compiler's own _Unwind_Find_FDE, which takes no lock with glibc 2.35 or
 * newer. A frame without tables is left by its frame pointer. On AArch64, whose ABI keeps frame records, and on macOS
 * and the BSDs, whose compilers keep frame pointers, the chain of those is all that is needed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "unwind.h"
#include <string.h>
#ifdef __linux__
#include <ucontext.h>
#endif

static bool read_word(const struct nxi_stack_copy *copy, uintptr_t at, uintptr_t *ret_word)
{
    uintptr_t offset = at - copy->low;
    if (at < copy->low || copy->size < sizeof(*ret_word) || offset > copy->size - sizeof(*ret_word))
        return false;
    memcpy(ret_word, copy->bytes + offset, sizeof(*ret_word));
    return true;
}

#if defined(__x86_64__) && !defined(__ILP32__) && defined(__linux__)

enum { RBX = 3, RBP = 6, RSP = 7, R12 = 12, R13, R14, R15, RA };

bool nxi_registers_of_fiber(struct nxi_registers *ret_registers, uintptr_t sp, const struct nxi_stack_copy *copy)
{
#ifdef NXI_FIBER_UCONTEXT
    (void)ret_registers, (void)sp, (void)copy;
    return false;
#else
    static const unsigned char order[] = {R15, R14, R13, R12, RBX, RBP, RA}; /* as fiber_x86_64.S pushes them */
    struct nxi_registers registers = {.exact = false};
    for (size_t i = 0; i < sizeof(order); i++, sp += sizeof(uintptr_t))
        if (!read_word(copy, sp, &registers.of[order[i]]))
            return false;
    registers.of[RSP] = sp;
    *ret_registers = registers;
    return true;
#endif
}

bool nxi_registers_of_signal(struct nxi_registers *ret_registers, const void *context)
{
    static const int order[NXI_REGISTERS] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
                                             REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                             REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
    const ucontext_t *ucontext = context;
    for (int i = 0; i < NXI_REGISTERS; i++)
        ret_registers->of[i] = (uintptr_t)ucontext->uc_mcontext.gregs[order[i]];
    ret_registers->exact = true;
    return true;
}

/* ---- the tables: DWARF call frame information as in the LSB's .eh_frame ---- */

struct dwarf_eh_bases {
    void *tbase, *dbase, *func;
};
const void *_Unwind_Find_FDE(void *pc, struct dwarf_eh_bases *ret_bases);

#define STATES_MAX 8 /* nested remember_state */
#define EXPRESSION_STACK 16

enum rule_kind { SAME, UNDEFINED, OFFSET, VAL_OFFSET, REGISTER, EXPRESSION, VAL_EXPRESSION };

struct rule {
    enum rule_kind kind;
    int64_t value;             /* offset from the CFA, or a register */
    const unsigned char *code; /* of an expression: its length first */
};

struct frame_rules {
    struct rule of[NXI_REGISTERS];
    uint64_t cfa_register;
    int64_t cfa_offset;
    const unsigned char *cfa_code;
};

#define CIE_MAX 256
#define FDE_MAX 2048
#define PADDING 64 /* zeros: what is read past the end, a number or two, ends there */

/*
 * What is the same for all of a function's table. Its two entries are copies: the file may be unloaded meanwhile, and
 * what the tables say of lengths is not believed.
 */
struct table {
    unsigned char cie[CIE_MAX + PADDING], fde[FDE_MAX + PADDING];
    const unsigned char *begin, *end, *cie_begin, *cie_end;
    uint64_t code_align;
    int64_t data_align;
    uintptr_t function;
    unsigned char encoding;
    bool signal_frame, augmented;
};

static uint64_t uleb(const unsigned char **at)
{
    uint64_t value = 0;
    unsigned shift = 0;
    unsigned char byte;
    do { /* ends: at the latest in the zeros */
        byte = *(*at)++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    return value;
}

static int64_t sleb(const unsigned char **at)
{
    uint64_t value = 0;
    unsigned shift = 0;
    unsigned char byte;
    do {
        byte = *(*at)++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    if (shift < 64 && (byte & 0x40))
        value |= ~UINT64_C(0) << shift;
    return (int64_t)value;
}

static uint64_t fixed(const unsigned char **at, size_t size)
{
    uint64_t value = 0;
    memcpy(&value, *at, size);
    *at += size;
    return value;
}

static int64_t fixed_signed(const unsigned char **at, size_t size)
{
    unsigned unused = 64 - 8 * (unsigned)size;
    return (int64_t)(fixed(at, size) << unused) >> unused;
}

static void skip_encoded(const unsigned char **at, unsigned char encoding)
{
    static const unsigned char sizes[16] = {8, 0, 2, 4, 8, 0, 0, 0, 8, 0, 2, 4, 8, 0, 0, 0};
    if ((encoding & 0x0f) == 1 || (encoding & 0x0f) == 9)
        (void)uleb(at);
    else
        *at += sizes[encoding & 0x0f];
}

static uint32_t word_at(const unsigned char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

/* Copies an entry, its length included, in front of zeros: how long it is, or 0. 64-bit lengths are not made by
 * compilers. */
static size_t copy_entry(unsigned char *to, size_t max, const unsigned char *entry)
{
    uint32_t length;
    memset(to, 0, max + PADDING);
    if (!nxi_snoop(&length, entry, sizeof(length)) || length < 8 || length > max - sizeof(length) ||
        !nxi_snoop(to, entry, sizeof(length) + length))
        return 0;
    return sizeof(length) + length;
}

/* Past so many bytes, or at the end. */
static const unsigned char *skip(const unsigned char *at, uint64_t length, const unsigned char *end)
{
    return at < end && length < (uint64_t)(end - at) ? at + length : end;
}

/* What the letters of the augmentation say. */
static void read_augmentation(struct table *table, const char *letters, const unsigned char *data)
{
    for (; *letters && data < table->cie_end; letters++) {
        if (*letters == 'R')
            table->encoding = *data++;
        else if (*letters == 'L')
            data++;
        else if (*letters == 'P') {
            unsigned char encoding = *data++;
            skip_encoded(&data, encoding);
        } else if (*letters == 'S')
            table->signal_frame = true;
    }
}

static bool read_cie(struct table *table)
{
    const unsigned char *at = table->cie + 8;
    unsigned char version = *at++;
    const char *augmentation = (const char *)at;
    at += strlen(augmentation) + 1;
    if (at >= table->cie_end)
        return false;
    table->code_align = uleb(&at);
    table->data_align = sleb(&at);
    if (version == 1)
        at++;
    else
        (void)uleb(&at); /* the return address' number is 16 */
    if (*augmentation == 'z') {
        uint64_t length = uleb(&at);
        read_augmentation(table, augmentation + 1, at);
        at = skip(at, length, table->cie_end);
    } else if (*augmentation) {
        return false;
    }
    table->augmented = *augmentation == 'z';
    table->cie_begin = at;
    return true;
}

static bool open_table(uintptr_t pc, struct table *table)
{
    struct dwarf_eh_bases bases = {0};
    const unsigned char *fde = _Unwind_Find_FDE((void *)pc, &bases);
    size_t fde_size = fde ? copy_entry(table->fde, FDE_MAX, fde) : 0;
    if (fde_size == 0)
        return false;
    size_t cie_size = copy_entry(table->cie, CIE_MAX, fde + 4 - (int32_t)word_at(table->fde + 4));
    if (cie_size == 0)
        return false;
    table->function = (uintptr_t)bases.func;
    table->encoding = 0;
    table->signal_frame = false;
    table->cie_end = table->cie + cie_size;
    table->end = table->fde + fde_size;
    if (!read_cie(table))
        return false;
    const unsigned char *at = table->fde + 8;
    skip_encoded(&at, table->encoding);
    skip_encoded(&at, table->encoding & 0x0f);
    if (table->augmented) {
        uint64_t length = uleb(&at);
        at = skip(at, length, table->end);
    }
    table->begin = at;
    return true;
}

static void set_rule(struct frame_rules *rules, uint64_t number, enum rule_kind kind, int64_t value)
{
    if (number < NXI_REGISTERS)
        rules->of[number] = (struct rule){.kind = kind, .value = value};
}

/* Past an expression: where it begins, with its length, or NULL: it is longer than the table. */
static const unsigned char *expression(const struct table *table, const unsigned char **at)
{
    const unsigned char *code = *at;
    const unsigned char *end = code >= table->fde && code < table->end ? table->end : table->cie_end;
    uint64_t length = uleb(at);
    if (*at > end || length > (uint64_t)(end - *at))
        return NULL;
    *at += length;
    return code;
}

static bool set_expression(const struct table *table, struct frame_rules *rules, uint64_t number, enum rule_kind kind,
                           const unsigned char **at)
{
    const unsigned char *code = expression(table, at);
    if (code && number < NXI_REGISTERS)
        rules->of[number] = (struct rule){.kind = kind, .code = code};
    return code;
}

/* The instructions that say where the caller's registers are; false: one that isn't known. */
static bool register_rule(const struct table *table, unsigned char code, const unsigned char **at,
                          struct frame_rules *rules)
{
    uint64_t number = uleb(at);
    switch (code) {
    case 0x05: /* offset_extended */
        set_rule(rules, number, OFFSET, (int64_t)uleb(at) * table->data_align);
        return true;
    case 0x07:
        set_rule(rules, number, UNDEFINED, 0);
        return true;
    case 0x08: /* same_value */
        set_rule(rules, number, SAME, 0);
        return true;
    case 0x09:
        set_rule(rules, number, REGISTER, (int64_t)uleb(at));
        return true;
    case 0x10:
        return set_expression(table, rules, number, EXPRESSION, at);
    case 0x11: /* offset_extended_sf */
        set_rule(rules, number, OFFSET, sleb(at) * table->data_align);
        return true;
    case 0x14:
        set_rule(rules, number, VAL_OFFSET, (int64_t)uleb(at) * table->data_align);
        return true;
    case 0x15:
        set_rule(rules, number, VAL_OFFSET, sleb(at) * table->data_align);
        return true;
    case 0x16:
        return set_expression(table, rules, number, VAL_EXPRESSION, at);
    case 0x2f: /* GNU_negative_offset_extended */
        set_rule(rules, number, OFFSET, -(int64_t)uleb(at) * table->data_align);
        return true;
    default:
        return false;
    }
}

/* The instructions that say what the CFA, the stack pointer before the call, is. False: none of them. */
static bool cfa_rule(const struct table *table, unsigned char code, const unsigned char **at, struct frame_rules *rules)
{
    switch (code) {
    case 0x0c: /* def_cfa */
    case 0x12: /* def_cfa_sf */
        rules->cfa_register = uleb(at);
        rules->cfa_offset = code == 0x0c ? (int64_t)uleb(at) : sleb(at) * table->data_align;
        rules->cfa_code = NULL;
        return true;
    case 0x0d: /* def_cfa_register */
        rules->cfa_register = uleb(at);
        return true;
    case 0x0e: /* def_cfa_offset */
        rules->cfa_offset = (int64_t)uleb(at);
        return true;
    case 0x13: /* def_cfa_offset_sf */
        rules->cfa_offset = sleb(at) * table->data_align;
        return true;
    case 0x0f: /* def_cfa_expression */
        rules->cfa_code = expression(table, at);
        return rules->cfa_code;
    default:
        return false;
    }
}

/* Runs a part of the table up to pc. initial: what `restore` goes back to. */
static bool run_table(const struct table *table, const unsigned char *at, const unsigned char *end, uintptr_t pc,
                      const struct frame_rules *initial, struct frame_rules *rules)
{
    struct frame_rules remembered[STATES_MAX];
    unsigned depth = 0;
    uintptr_t location = table->function;
    while (at < end && location <= pc) {
        unsigned char code = *at++;
        uint64_t low = code & 0x3f;
        if ((code & 0xc0) == 0x40) {
            location += low * table->code_align;
        } else if ((code & 0xc0) == 0x80) {
            set_rule(rules, low, OFFSET, (int64_t)uleb(&at) * table->data_align);
        } else if ((code & 0xc0) == 0xc0 || code == 0x06) {
            uint64_t number = code == 0x06 ? uleb(&at) : low;
            if (number < NXI_REGISTERS)
                rules->of[number] = initial->of[number];
        } else if (code == 0) {
            continue;
        } else if (code >= 0x02 && code <= 0x04) {
            location += fixed(&at, (size_t)1 << (code - 2)) * table->code_align;
        } else if (code == 0x0a) {
            if (depth == STATES_MAX)
                return false;
            remembered[depth++] = *rules;
        } else if (code == 0x0b) {
            if (depth == 0)
                return false;
            *rules = remembered[--depth];
        } else if (code == 0x2e) {
            (void)uleb(&at); /* GNU_args_size */
        } else if (!cfa_rule(table, code, &at, rules) && !register_rule(table, code, &at, rules)) {
            return false;
        }
    }
    return true;
}

static bool binary(unsigned char code, uint64_t left, uint64_t right, uint64_t *ret_value)
{
    switch (code) {
    case 0x1a:
        *ret_value = left & right;
        return true;
    case 0x1c:
        *ret_value = left - right;
        return true;
    case 0x21:
        *ret_value = left | right;
        return true;
    case 0x22:
        *ret_value = left + right;
        return true;
    case 0x24:
        *ret_value = right < 64 ? left << right : 0;
        return true;
    case 0x25:
        *ret_value = right < 64 ? left >> right : 0;
        return true;
    case 0x2a:
        *ret_value = (int64_t)left >= (int64_t)right;
        return true;
    default:
        return false;
    }
}

/* The constants and registers that an expression pushes. False: it is something else. */
static bool pushed(unsigned char code, const unsigned char **at, const struct nxi_registers *registers,
                   uint64_t *ret_value)
{
    if (code >= 0x30 && code <= 0x4f) { /* lit0.. */
        *ret_value = code - 0x30u;
        return true;
    }
    if (code >= 0x70 && code < 0x70 + NXI_REGISTERS) { /* breg0.. */
        *ret_value = registers->of[code - 0x70] + (uint64_t)sleb(at);
        return true;
    }
    if (code >= 0x08 && code <= 0x0f) { /* const1u, const1s, const2u .. const8s */
        size_t size = (size_t)1 << ((code - 0x08) / 2);
        *ret_value = code & 1 ? (uint64_t)fixed_signed(at, size) : fixed(at, size);
        return true;
    }
    if (code == 0x10 || code == 0x11) {
        *ret_value = code == 0x10 ? uleb(at) : (uint64_t)sleb(at);
        return true;
    }
    return false;
}

/* The expressions of the PLT, of realigned stacks and of signal frames: false for anything else. */
static bool evaluate(const unsigned char *at, const struct nxi_registers *registers, const struct nxi_stack_copy *copy,
                     bool push_cfa, uintptr_t cfa, uintptr_t *ret_value)
{
    uint64_t stack[EXPRESSION_STACK];
    unsigned depth = 0;
    uint64_t length = uleb(&at);
    const unsigned char *end = at + length;
    if (push_cfa)
        stack[depth++] = cfa;
    while (at < end) {
        unsigned char code = *at++;
        uint64_t value;
        if (depth < EXPRESSION_STACK && pushed(code, &at, registers, &value)) {
            stack[depth++] = value;
        } else if (code == 0x06 && depth > 0) { /* deref */
            uintptr_t word;
            if (!read_word(copy, stack[depth - 1], &word))
                return false;
            stack[depth - 1] = word;
        } else if (code == 0x23 && depth > 0) { /* plus_uconst */
            stack[depth - 1] += uleb(&at);
        } else if (depth > 1 && binary(code, stack[depth - 2], stack[depth - 1], &value)) {
            stack[--depth - 1] = value;
        } else {
            return false;
        }
    }
    if (depth == 0)
        return false;
    *ret_value = stack[depth - 1];
    return true;
}

static bool apply(const struct rule *rule, unsigned number, uintptr_t cfa, const struct nxi_registers *registers,
                  const struct nxi_stack_copy *copy, uintptr_t *ret_value)
{
    switch (rule->kind) {
    case SAME:
        *ret_value = registers->of[number];
        return true;
    case OFFSET:
        return read_word(copy, cfa + (uintptr_t)rule->value, ret_value);
    case VAL_OFFSET:
        *ret_value = cfa + (uintptr_t)rule->value;
        return true;
    case REGISTER:
        *ret_value = rule->value >= 0 && rule->value < NXI_REGISTERS ? registers->of[rule->value] : 0;
        return true;
    case EXPRESSION: {
        uintptr_t address;
        return evaluate(rule->code, registers, copy, true, cfa, &address) && read_word(copy, address, ret_value);
    }
    case VAL_EXPRESSION:
        return evaluate(rule->code, registers, copy, true, cfa, ret_value);
    default:
        return false;
    }
}

/* To the caller, by the tables. 1: done; 0: there is no caller; -1: no tables, or not understood. */
static int step_by_tables(struct nxi_registers *registers, const struct nxi_stack_copy *copy)
{
    struct table table;
    struct frame_rules rules = {.cfa_register = RSP}, initial = {.cfa_register = RSP};
    uintptr_t pc = registers->of[RA] - !registers->exact;
    uintptr_t cfa;
    if (!open_table(pc, &table) || !run_table(&table, table.cie_begin, table.cie_end, UINTPTR_MAX, &initial, &initial))
        return -1;
    rules = initial;
    if (!run_table(&table, table.begin, table.end, pc, &initial, &rules))
        return -1;
    if (rules.of[RA].kind == UNDEFINED)
        return 0;
    if (rules.cfa_code) {
        if (!evaluate(rules.cfa_code, registers, copy, false, 0, &cfa))
            return -1;
    } else if (rules.cfa_register < NXI_REGISTERS) {
        cfa = registers->of[rules.cfa_register] + (uintptr_t)rules.cfa_offset;
    } else {
        return -1;
    }
    struct nxi_registers caller = {.exact = table.signal_frame};
    for (unsigned i = 0; i < NXI_REGISTERS; i++)
        if (!apply(&rules.of[i], i, cfa, registers, copy, &caller.of[i]) && (i == RA || rules.of[i].kind != UNDEFINED))
            return -1;
    if (rules.of[RSP].kind == SAME)
        caller.of[RSP] = cfa;
    if (caller.of[RSP] <= registers->of[RSP] && !table.signal_frame) /* ends: each step goes up */
        return -1;
    *registers = caller;
    return 1;
}

static bool step_by_frame_pointer(struct nxi_registers *registers, const struct nxi_stack_copy *copy)
{
    uintptr_t base = registers->of[RBP], next_base, pc;
    if (base < registers->of[RSP] || !read_word(copy, base, &next_base) ||
        !read_word(copy, base + sizeof(uintptr_t), &pc))
        return false;
    registers->of[RSP] = base + 2 * sizeof(uintptr_t);
    registers->of[RBP] = next_base;
    registers->of[RA] = pc;
    registers->exact = false;
    return true;
}

int nxi_unwind(const struct nxi_registers *first, const struct nxi_stack_copy *copy, uintptr_t *ret_pcs, int max)
{
    struct nxi_registers registers = *first;
    int count = 0;
    while (count < max && registers.of[RA] != 0) {
        ret_pcs[count++] = registers.of[RA];
        int result = step_by_tables(&registers, copy);
        if (result == 0 && count > 1)
            return count - 1; /* nxi_fiber_start says nothing to anybody */
        if (result == 0 || (result < 0 && !step_by_frame_pointer(&registers, copy)))
            break;
    }
    return count;
}

#elif defined(__aarch64__) || (defined(__x86_64__) && !defined(__ILP32__))

#ifdef __aarch64__
#define CODE_MASK UINT64_C(0x0000ffffffffffff) /* without a pointer's signature */
#define FRAME 0u                               /* of what nxi_fiber_swap keeps: where the frame pointer is */
#define KEPT 16u                               /* and how much that is, up to and with the return address behind it */
#else
#define CODE_MASK UINT64_MAX
#define FRAME 40u
#define KEPT 56u
#endif

bool nxi_registers_of_fiber(struct nxi_registers *ret_registers, uintptr_t sp, const struct nxi_stack_copy *copy)
{
#ifdef NXI_FIBER_UCONTEXT
    (void)ret_registers, (void)sp, (void)copy;
    return false;
#else
    *ret_registers = (struct nxi_registers){.exact = false};
    ret_registers->of[7] = sp;
    return read_word(copy, sp + FRAME, &ret_registers->of[6]) && read_word(copy, sp + KEPT - 8, &ret_registers->of[16]);
#endif
}

bool nxi_registers_of_signal(struct nxi_registers *ret_registers, const void *context)
{
    struct nxi_os_context stopped;
    if (!nxi_os_context(context, &stopped))
        return false;
    *ret_registers = (struct nxi_registers){.exact = true};
    ret_registers->of[6] = stopped.fp;
    ret_registers->of[7] = stopped.sp;
    ret_registers->of[16] = stopped.pc;
    return true;
}

int nxi_unwind(const struct nxi_registers *first, const struct nxi_stack_copy *copy, uintptr_t *ret_pcs, int max)
{
    uintptr_t frame = first->of[6], low = first->of[7], pc = first->of[16];
    int count = 0;
    while (count < max && (pc & CODE_MASK) != 0) {
        uintptr_t next;
        ret_pcs[count++] = pc & CODE_MASK;
        if (frame < low || !read_word(copy, frame, &next) || !read_word(copy, frame + 8, &pc))
            break;
        low = frame + 16; /* ends: each step goes up */
        frame = next;
    }
    return count;
}

#else

bool nxi_registers_of_fiber(struct nxi_registers *ret_registers, uintptr_t sp, const struct nxi_stack_copy *copy)
{
    (void)ret_registers, (void)sp, (void)copy;
    return false;
}

bool nxi_registers_of_signal(struct nxi_registers *ret_registers, const void *context)
{
    (void)ret_registers, (void)context;
    return false;
}

int nxi_unwind(const struct nxi_registers *first, const struct nxi_stack_copy *copy, uintptr_t *ret_pcs, int max)
{
    (void)first, (void)copy, (void)ret_pcs, (void)max, (void)read_word;
    return 0;
}

#endif
