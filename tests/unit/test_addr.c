/* Addresses from text and back. */
#include <nexus/nexus.h>

#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define A10 "aaaaaaaaaa"
#define A100 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10

static nx_addr parsed(const char *text)
{
    nx_addr addr;
    memset(&addr, 0xa5, sizeof(addr));
    int error = nx_addr_parse(text, &addr);
    if (error != 0)
        fail_msg("'%s': %s", text, nx_strerror(error));
    return addr;
}

static void formats_as(const nx_addr *addr, const char *text)
{
    char back[160];
    int length = nx_addr_format(addr, back, sizeof(back));
    assert_string_equal(back, text);
    assert_int_equal(length, strlen(text));
}

static void canonical_text_comes_back_as_it_was(void **state)
{
    static const char *const texts[] = {
        "127.0.0.1:80",
        "0.0.0.0:0",
        "255.255.255.255:65535",
        "1.2.3.4:1",
        "[::1]:80",
        "[::]:0",
        "[2001:db8::8:800:200c:417a]:443",
        "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
        "[::ffff:10.1.2.3]:8080",
        "[fe80::1%2]:80",
        "[fe80::1%4294967295]:80",
        "unix:/run/x.sock",
        "unix:relative",
        "unix:/with space/and:colon]",
        "unix:@abstract",
        "unix:@a",
        "unix:/" A100 "123456",  /* 107 bytes, the most a path may have */
        "unix:@" A100 "1234567", /* 108, an abstract name has no terminator */
    };
    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        nx_addr addr = parsed(texts[i]);
        formats_as(&addr, texts[i]);
    }
}

static void other_spellings_are_understood_and_made_canonical(void **state)
{
    static const char *const pairs[][2] = {
        {"[0:0:0:0:0:0:0:1]:80", "[::1]:80"},
        {"[2001:DB8::A]:80", "[2001:db8::a]:80"},
        {"[::1.2.3.4]:80", "[::1.2.3.4]:80"},
        {"127.0.0.1:0080", "127.0.0.1:80"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++) {
        nx_addr addr = parsed(pairs[i][0]);
        formats_as(&addr, pairs[i][1]);
    }
}

static void fields_are_as_documented_and_the_rest_is_zero(void **state)
{
    nx_addr expected, addr;
    (void)state;

    addr = parsed("10.1.2.3:258");
    expected = (nx_addr){.family = NX_AF_INET, .len = 4, .port = 258, .data = {10, 1, 2, 3}};
    assert_memory_equal(&addr, &expected, sizeof(addr));

    addr = parsed("[fe80::0102%7]:80");
    expected = (nx_addr){.family = NX_AF_INET6, .len = 16, .port = 80, .scope = 7};
    expected.data[0] = 0xfe;
    expected.data[1] = 0x80;
    expected.data[14] = 1;
    expected.data[15] = 2;
    assert_memory_equal(&addr, &expected, sizeof(addr));

    addr = parsed("unix:@ab");
    expected = (nx_addr){.family = NX_AF_UNIX, .len = 3, .data = {0, 'a', 'b'}};
    assert_memory_equal(&addr, &expected, sizeof(addr));
    assert_int_equal(sizeof(nx_addr), 128);
}

static void a_scope_may_be_an_interface_name(void **state)
{
    char name[IF_NAMESIZE], text[64], index[64];
    (void)state;
    if (!if_indextoname(1, name)) {
        print_message("no interface has index 1\n");
        skip();
    }
    snprintf(text, sizeof(text), "[fe80::1%%%s]:80", name);
    snprintf(index, sizeof(index), "[fe80::1%%1]:80");
    nx_addr addr = parsed(text);
    assert_int_equal(addr.scope, 1);
    formats_as(&addr, index);
}

static void nonsense_is_refused_and_leaves_the_result_alone(void **state)
{
    static const char *const texts[] = {
        "",
        ":",
        "::",
        ":80",
        "80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:8x",
        "127.0.0.1:-1",
        "127.0.0.1:+80",
        "127.0.0.1: 80",
        "127.0.0.1:80 ",
        " 127.0.0.1:80",
        "127.0.0.1:65536",
        "127.0.0.1:99999999999999999999",
        "127.0.0.1:80:80",
        "256.0.0.1:80",
        "1.2.3:80",
        "1.2.3.4.5:80",
        "01.2.3.4.5:80",
        "localhost:80",
        "*:80",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[::1]:",
        "[::1]:65536",
        "[::1:80",
        "[]:80",
        "[:::1]:80",
        "[::g]:80",
        "[1:2:3:4:5:6:7:8:9]:80",
        "[127.0.0.1]:80",
        "[::1]]:80",
        "[[::1]]:80",
        "[fe80::1%]:80",
        "[fe80::1%0]:80",
        "[fe80::1%no-such-if]:80",
        "[fe80::1%4294967296]:80",
        "[fe80::1%-1]:80",
        "[fe80::1%-18446744073709551614]:80",
        "[fe80::1%+2]:80",
        "[fe80::1% 2]:80",
        "[fe80::1%2x]:80",
        "[fe80::1%2%2]:80",
        "[" A100 "]:80",
        A100 ":80",
        "unix",
        "unix:",
        "unix:@",
        "UNIX:/x",
        "unix:/" A100 "1234567",  /* 108 */
        "unix:@" A100 "12345678", /* 109 */
        "tcp:127.0.0.1:80",
        "http://127.0.0.1:80",
    };
    nx_addr addr, before;
    (void)state;
    memset(&addr, 0xa5, sizeof(addr));
    before = addr;
    for (size_t i = 0; i < COUNT(texts); i++) {
        int error = nx_addr_parse(texts[i], &addr);
        if (error != -EINVAL)
            fail_msg("'%s' gives %d", texts[i], error);
        assert_memory_equal(&addr, &before, sizeof(addr));
    }
    assert_int_equal(nx_addr_parse(NULL, &addr), -EINVAL);
    assert_int_equal(nx_addr_parse("127.0.0.1:80", NULL), -EINVAL);
}

static void a_long_text_is_cut_terminated_and_its_length_told(void **state)
{
    nx_addr addr = parsed("127.0.0.1:8080");
    char text[16];
    (void)state;
    memset(text, 'x', sizeof(text));
    assert_int_equal(nx_addr_format(&addr, text, 5), 14);
    assert_string_equal(text, "127.");
    assert_int_equal(text[5], 'x');
    assert_int_equal(nx_addr_format(&addr, text, 1), 14);
    assert_string_equal(text, "");
    text[0] = 'x';
    assert_int_equal(nx_addr_format(&addr, text, 0), 14);
    assert_int_equal(text[0], 'x');
    assert_int_equal(nx_addr_format(&addr, NULL, 0), 14);
    assert_int_equal(nx_addr_format(&addr, text, 15), 14);
    assert_string_equal(text, "127.0.0.1:8080");
}

static void what_is_no_address_is_not_formatted(void **state)
{
    nx_addr addr = parsed("127.0.0.1:80");
    char text[32] = "before";
    (void)state;
    assert_int_equal(nx_addr_format(NULL, text, sizeof(text)), -EINVAL);
    assert_int_equal(nx_addr_format(&addr, NULL, 8), -EINVAL);
    addr.family = 0;
    assert_int_equal(nx_addr_format(&addr, text, sizeof(text)), -EINVAL);
    addr.family = NX_AF_DRIVER;
    assert_int_equal(nx_addr_format(&addr, text, sizeof(text)), -EINVAL);
    addr = (nx_addr){.family = NX_AF_UNIX, .len = 117};
    assert_int_equal(nx_addr_format(&addr, text, sizeof(text)), -EINVAL);
    assert_string_equal(text, "before");
}

static void an_unnamed_unix_socket_has_an_empty_path(void **state)
{
    nx_addr addr = {.family = NX_AF_UNIX};
    (void)state;
    formats_as(&addr, "unix:");
}

static void any_bits_of_an_address_survive_the_way_through_text(void **state)
{
    (void)state;
    srand(20240229);
    for (int i = 0; i < 20000; i++) {
        nx_addr addr = {.port = (uint16_t)rand()};
        char text[128];
        addr.family = i % 2 ? NX_AF_INET6 : NX_AF_INET;
        addr.len = i % 2 ? 16 : 4;
        for (int k = 0; k < addr.len; k++) /* runs of zeros are where spellings differ */
            addr.data[k] = rand() % 3 ? (uint8_t)rand() : 0;
        if (i % 2)
            addr.scope = rand() % 4 ? 0 : 1 + (uint32_t)rand() % 1000;
        assert_true(nx_addr_format(&addr, text, sizeof(text)) > 0);
        nx_addr back = parsed(text);
        assert_memory_equal(&addr, &back, sizeof(addr));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canonical_text_comes_back_as_it_was),
        cmocka_unit_test(other_spellings_are_understood_and_made_canonical),
        cmocka_unit_test(fields_are_as_documented_and_the_rest_is_zero),
        cmocka_unit_test(a_scope_may_be_an_interface_name),
        cmocka_unit_test(nonsense_is_refused_and_leaves_the_result_alone),
        cmocka_unit_test(a_long_text_is_cut_terminated_and_its_length_told),
        cmocka_unit_test(what_is_no_address_is_not_formatted),
        cmocka_unit_test(an_unnamed_unix_socket_has_an_empty_path),
        cmocka_unit_test(any_bits_of_an_address_survive_the_way_through_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
