/*
 * The grammar of NEXUS_BACKEND, NEXUS_SCHED and of the options of the same meaning; and words: quoting them in
 * sentences, finding the one that was meant.
 *
 *     list = ["^"] item {"," item}      ^ negates the whole list; "auto" only last
 *     item = spec {"+" spec}            layers: reserved, an error until they exist
 *     spec = (name | absolute path){":" key "=" value}
 *
 * In a value , : + and % are written %2C %3A %2B %25. A path can't contain them.
 */
#ifndef NXI_SPEC_H
#define NXI_SPEC_H

#include <stdbool.h>
#include <stddef.h>

#define NXI_SPEC_LENGTH_MAX 4096
#define NXI_SPEC_ITEMS_MAX 32
#define NXI_SPEC_PARAMS_MAX 32 /* of an item */
#define NXI_NAME_MAX 63

struct nxi_spec_param {
    const char *key, *value;
};

struct nxi_spec {
    const char *name; /* aliases replaced; or the absolute path */
    bool is_path;
    const struct nxi_spec_param *params;
    size_t param_count;
};

struct nxi_spec_list {
    bool negated;   /* ^: automatic, but none of the items */
    bool automatic; /* ended with "auto", which is not among the items */
    struct nxi_spec *items;
    size_t count;
    void *params; /* what the items point into */
    char *text;
};

/* 0; -EINVAL with a sentence; -ENOMEM. The empty text is an empty list. */
int nxi_spec_parse(const char *text, struct nxi_spec_list *ret_list, char *error, size_t error_size);
void nxi_spec_clear(struct nxi_spec_list *list);

/* Letters, digits, _ and -, at most NXI_NAME_MAX, not "auto". */
bool nxi_name_valid(const char *name);

/* The name that an alias stands for ("io_uring": "iouring"), else the name itself. */
const char *nxi_name_canonical(const char *name);

/* A text in a sentence: cut to 160 characters, control characters replaced. Use .text within the same expression. */
struct nxi_quoted {
    char text[164];
};
struct nxi_quoted nxi_quote(const char *text);

#define NXI_NEAR 2 /* so many letters off, a word is taken for a slip */

/* Letters to insert, drop, change or swap with their neighbour to make b of a, whatever their case; any number above
 * NXI_NEAR for words that are not near. */
unsigned nxi_distance(const char *a, const char *b);

/* The nearest of the words within NXI_NEAR, the first of equals; NULL: none. */
const char *nxi_nearest(const char *word, const char *const *words, size_t count);

#endif
