"""Renders chat templates and a table of expressions with Jinja2, set up as transformers does it.

    pip install jinja2==3.1.6
    python scripts/make-template-golden.py        # writes test/fixtures/templates/*.golden.json

The environment is that of transformers' chat templates: ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks,
loop controls, a "generation" tag, json.dumps as tojson, raise_exception and strftime_now (of a fixed time).
"""

import json
from datetime import datetime
from pathlib import Path

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = Path(__file__).parent.parent / "test" / "fixtures" / "templates"
NOW = datetime(2026, 3, 5, 14, 7, 9)


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise TemplateError(message)


ENVIRONMENT = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
)
ENVIRONMENT.filters["tojson"] = tojson
ENVIRONMENT.globals["raise_exception"] = raise_exception
ENVIRONMENT.globals["strftime_now"] = NOW.strftime


def render(source, variables):
    try:
        text = ENVIRONMENT.from_string(source).render(**variables)
        # The address of an object is no result to compare with.
        return {"error": "address"} if " at 0x" in text else {"text": text}
    except Exception as error:  # whatever Python raises: the template is an error there
        return {"error": type(error).__name__}


VARIABLES = {
    "s": "  Hello, World \n",
    "w": "xxabcxx",
    "u": "h\u00e9llo \U0001f600 \u4e16\u754c",
    "e": "",
    "n": None,
    "t": True,
    "f": False,
    "i": 7,
    "x": 2.5,
    "l": [3, 1, 2],
    "words": ["b", "A", "c", "a"],
    "d": {"b": 1, "a": [1, 2.5, None, True], "c": {"k": "v"}},
    "m": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi", "n": 2},
        {"role": "assistant", "content": "Yo", "n": 1},
    ],
    "odd": {"items": "own", "get": 1, "x y": 2, "": 3},
}

# Each line is a template, or without any tag an expression that is written.
EXPRESSIONS = r"""
s.strip()
w.strip('x')
w.strip('xab')
w.strip('')
w.strip(None)
w.lstrip('x')
w.lstrip('xa')
w.rstrip('x')
w.rstrip('cx')
u.strip('h\u754c')
s.lstrip() ~ '|'
s.rstrip() ~ '|'
'\x1c\x85 a \u3000'.strip() ~ '|'
'\ufeffa\ufeff'.strip() | length
w.strip('x', 'y')
w.strip(1)
w.strip(chars='x')
'a b  c'.split()
' a b  c '.split()
' a b  c '.split(None, 1)
' a b  c '.split(' ', 1)
'a b c'.split(' ')
'a  b'.split(' ')
'a,b,c,d'.split(',', 2)
'a,b,c,d'.split(',', maxsplit=1)
'a,b,c,d'.split(sep=',')
'a,b,c,d'.split(',', 0)
'a,b,c,d'.split(',', -1)
'a,b,c,d'.rsplit(',', 2)
'a,b,c,d'.rsplit(',', 1)[0]
' a b  c '.rsplit(None, 1)
' a b  c '.rsplit()
'a,b'.rsplit(',', 0)
'abc'.split('')
'abc'.split(1)
''.split()
''.split(',')
'<think>a</think>b'.split('</think>')[-1].lstrip('\n')
'a</think>b</think>c'.split('</think>', 1)[1]
'a\nb\r\nc\rd'.splitlines()
'a\nb\n'.splitlines(true)
'a\x0bb\x0cc\x1cd\x85e\u2028f'.splitlines()
'aaa'.replace('a', 'b')
'aaa'.replace('a', 'b', 2)
'aaa'.replace('a', 'b', 0)
'aaa'.replace('a', 'b', -1)
'abc'.replace('', '-')
'abc'.replace('', '-', 2)
u.replace('', '.')
'aaa'.replace('a')
'aaa'.replace(1, 2)
'a$b'.replace('$', '$&$$')
'aaa' | replace('a', 'b')
'aaa' | replace('a', 'b', 2)
'aaa' | replace('a', 'b', count=1)
'a1a' | replace(1, 2)
121 | replace(1, 'x')
'a$b' | replace('$', '$1$&')
'a' | replace('a', n)
', '.join(words)
'-'.join('abc')
', '.join(l)
', '.join(d)
', '.join(words, 1)
l | join
l | join(', ')
l | join(d='-')
words | join(', ') | upper
m | join(', ', attribute='role')
m | join(attribute='content')
'abc' | join('.')
l | join(1)
[1, none, true, 2.0, undefined_name] | join('|')
s | trim ~ '|'
w | trim('x')
w | trim(chars='x')
n | trim
5 | trim
d | tojson
d | tojson(indent=2)
d | tojson(indent=0)
d | tojson(indent='--')
d | tojson(2)
d | tojson(true)
u | tojson
u | tojson(ensure_ascii=true)
d | tojson(separators=(',', ':'))
d | tojson(separators=[',', ':'])
d | tojson(separators=(',',))
d | tojson(sort_keys=true)
d | tojson(indent=2, sort_keys=true)
m | tojson(indent=4, ensure_ascii=False)
'<a href="x">\'&\n\t\x07\x7f\u2028</a>' | tojson
'\x7f\u0085\ud7ff' | tojson(ensure_ascii=true)
[] | tojson
{} | tojson
[[], {}] | tojson(indent=2)
(1, 2) | tojson
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
{(1, 2): 3} | tojson
1e20 | tojson
1e16 | tojson
0.1 | tojson
100000000000000000000 | tojson
undefined_name | tojson
range(3) | tojson
d.items() | tojson
none | tojson
'5' | int
'x' | int
'x' | int(3)
'x' | int(default=4)
' 12 ' | int
'-7' | int
'+7' | int
'1_000' | int
'1__0' | int
'0x1f' | int(base=16)
'0x1f' | int(0, 0)
'ff' | int(0, 16)
'0b11' | int(0, 2)
'12' | int(0, 3)
'3.9' | int
'1e3' | int
3.9 | int
-3.9 | int
true | int
none | int
[] | int(9)
undefined_name | int
'12345678901234567890123' | int
'' | int
'3.5' | float
'x' | float
'x' | float(1.5)
' 1e3 ' | float
'inf' | float
'nan' | float
'1_0.5' | float
7 | float
none | float
true | float
n | default('x')
undefined_name | default('x')
undefined_name | default
e | default('x')
e | default('x', true)
e | default('x', boolean=true)
0 | default('x', true)
[] | d('y', true)
n | default('x', boolean=True)
m[9] | default('none')
m[0].foo | default('none')
m[0].foo.bar | default('none')
undefined_name.foo | default('none')
2.5 | round
3.5 | round
2.675 | round(2)
-2.5 | round
2.123456 | round(3)
42 | round
42 | round(2)
42.55 | round(1, 'ceil')
42.55 | round(1, 'floor')
42.5 | round(method='floor')
1e300 | round(2)
0.5 | round | int
'x' | round
l | sort
words | sort
words | sort(case_sensitive=true)
words | sort(reverse=true)
l | sort(true)
m | sort(attribute='role') | map(attribute='role') | list
m[1:] | sort(attribute='n') | map(attribute='n') | list
m | sort(attribute='n')
[1, 'a'] | sort
[(2, 'a'), (1, 'b'), (1, 'a')] | sort
'hello' | sort
d | sort
[true, 0, 2.5, -1] | sort
words | unique | list
['a', 'A', 1, 1.0, true] | unique | list
['a', 'A'] | unique(true) | list
m | unique(attribute='n') | list | length
words | map('upper') | list
words | map('upper') | join
m | map(attribute='role') | list
m | map(attribute='n', default='?') | list
m | map(attribute='n') | list
['a-b', 'c'] | map('replace', '-', '+') | list
[1, 2] | map('string') | join('|')
words | map('nofilter') | list
words | map('upper')
d | map('upper') | list
m | selectattr('role', 'equalto', 'user') | list
m | selectattr('role', 'equalto', 'user') | map(attribute='content') | first
m | selectattr('role', 'eq', 'user') | list | length
m | selectattr('role', '==', 'user') | list | length
m | selectattr('n') | list | length
m | selectattr('n', 'defined') | list | length
m | rejectattr('role', 'in', ['user', 'system']) | list | length
m | rejectattr('n', 'defined') | map(attribute='role') | join
m | selectattr('role', 'nosuchtest') | list
[1, 2, 3, 4] | select('even') | list
[1, 2, 3, 4] | reject('odd') | list
[0, 1, '', 'a'] | select | list
[0, 1, '', 'a'] | reject | list
[1, 2, 3] | select('greaterthan', 1) | list
[1, 2, 3] | select('in', [1, 3]) | list
m | selectattr('role', 'equalto', 'user') | length
d | items | list
d | items
d.items() | list
d.items()
d.keys()
d.values() | list
d.keys() | list
d.get('a')
d.get('z')
d.get('z', 'q')
d.get()
d | dictsort
d | dictsort(reverse=true)
{'a': 2, 'b': 1} | dictsort(by='value')
{'B': 2, 'a': 1} | dictsort
{'B': 2, 'a': 1} | dictsort(true)
l | items
undefined_name | items | list
d | length
d | first
d | last
d | list
d
odd.items
odd['items']
odd.get
odd.get('x')
odd['x y']
odd['']
d.copy()
d.update({'z': 1})
d.pop('a')
l.append(4)
l.sort()
l.index(2)
l.index(9)
l.count(1)
(1, 2, 1).count(1)
l.reverse
'abc'.startswith('a')
'abc'.startswith(('x', 'a'))
'abc'.startswith(['a'])
'abc'.startswith('b', 1)
'abc'.startswith('b', 1, 2)
'abc'.startswith('')
'abc'.startswith('', 5)
'abc'.endswith('c')
'abc'.endswith(('x', 'bc'))
'abc'.endswith('b', 0, 2)
'abc'.startswith(1)
'abcabc'.find('c')
'abcabc'.find('c', 3)
'abcabc'.rfind('c')
'abc'.find('z')
'abc'.index('z')
u.find('\u4e16')
'abcabc'.count('bc')
'abc'.count('')
'aaaa'.count('aa')
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.partition('-')
'abc'.removeprefix('a')
'abc'.removesuffix('c')
'abc'.removesuffix('')
'hello world'.title()
"they're bill's".title()
'hello WORLD' | title
"they're bill's-x (y)" | title
'hELLO wORLD' | capitalize
'hELLO'.capitalize()
'\u00dfa'.capitalize()
'\u00dfa'.upper()
'\u01c6a'.capitalize()
'\u0391\u03a3'.lower()
'\u0130'.lower() | length
'ABC'.lower()
'abc' | upper
5 | upper
none | upper
'abc'.isalpha()
'abc1'.isalnum()
'12'.isdigit()
''.isdigit()
'1.5'.isdigit()
'\u00b2'.isdigit()
' \n'.isspace()
'abc'.islower()
'Abc'.islower()
'ABC1'.isupper()
'1'.isupper()
'5'.zfill(3)
'-5'.zfill(4)
'ab'.center(5) ~ '|'
'ab'.center(6, '*')
'abc'.center(6, '*')
'ab' | center(6) ~ '|'
'ab'.ljust(4, '.')
'ab'.rjust(4, '.')
'ab'.swapcase()
'ab'.encode()
'abc'.nosuch()
'abc'.nosuch
'abc'.nosuch is defined
'abc'.upper
'abc'.upper is defined
'abc'.__class__
d.__class__
'abc'[0]
'abc'[-1]
'abc'[5]
'abc'['x']
u[6]
u | length
u[::-1]
'abcdef'[1:4]
'abcdef'[::-1]
'abcdef'[::2]
'abcdef'[-3:]
'abcdef'[:-1]
'abcdef'[4:1:-1]
'abcdef'[10:]
'abcdef'[-100:2]
'abcdef'[::0]
'abcdef'[:none]
'abcdef'['a':]
w['a':]
x[-2:]
i[1:]
d[:2]
none[1:]
n[::2]
undefined_name[1:]
{'a': none}.a
{'a': none}['a']
{'a': none}.a is none
{'a': none}.a is defined
{'a': none}.a | default('x')
{'a': none}.get('a', 5)
[none][0]
(none,)[0] is none
{% set ns = namespace(a=none) %}{{ ns.a }}{{ ns.a is none }}
{% for q in [none, 1] %}{{ loop.previtem }},{{ loop.nextitem }};{% endfor %}
{% for q in [1, none] %}{{ loop.nextitem }}{{ loop.nextitem is defined }};{% endfor %}
{% macro p(a, b=2) %}{{ a }}{{ b }}{{ b is none }}{% endmacro %}{{ p(none, none) }}{{ p(b=none, a=none) }}
{% macro p(a) %}{{ caller is none }}{{ a }}{% endmacro %}{{ p(a=1, caller=none) }}
[{'a': none}] | map(attribute='a') | list
[{'a': none}, {'a': 1}] | selectattr('a', 'none') | list
[{'a': none}] | map(attribute='a', default=3) | list
[{'a': none}] | first | attr('a') is defined
'%(a)s' | format(a=none)
'{a}'.format(a=none)
none or 1
none if t else 1
[none, 1] | first
[none] | last
[none] | sum(start=3)
[[none]] | map('first') | list
'a\nb'.splitlines(2)
'a\nb'.splitlines(0)
'a\nb'.splitlines(1.0)
'a\nb'.splitlines('')
[-0.5 // -3, -0.5 // 3, 0.5 // -3, -0.0 // 3, 0.0 // -3, -0.0 // -3, 0.0 // 3, 3.0 // -1e308, 3.0 // 1e308]
[-0.5 % -3, -0.0 % 3, 0.0 % -3, 3.0 % -3]
words | sort(2)
words | sort('')
words | sort(none)
d | dictsort(reverse=none)
l[1:]
l[::-1]
l[-1]
l[5]
l['0']
l[1.0]
l[true]
(1, 2, 3)[1:]
(1, 2, 3)[::-1]
range(5)[1]
range(5)[-1]
range(5)[9]
d[0]
d[l]
none.x
none['x']
5.x
m[0]['role']
m[0].role
m.0.role
m[0]['rol' ~ 'e']
undefined_name
undefined_name ~ 'x'
undefined_name.x
undefined_name[0]
undefined_name + 1
undefined_name == undefined_name
undefined_name == none
undefined_name < 1
undefined_name in [1]
'a' in undefined_name
not undefined_name
undefined_name or 'x'
undefined_name and 'x'
undefined_name | length
undefined_name | list
undefined_name | upper
undefined_name()
[undefined_name]
undefined_name is sequence
undefined_name is iterable
undefined_name is string
undefined_name is none
1 + 2
1 + 2.0
1 / 2
4 / 2
7 // 2
-7 // 2
7 // -2
7.5 // 2
-7 % 3
7 % -3
-7.5 % 2
5.5 % -2
1 // 0
1 % 0
1.0 / 0
2 ** 3
2 ** -1
2 ** 0.5
2 ** 3 ** 2
-2 ** 2
(-8) ** (1 / 3)
0 ** -1
2 ** 100
10 ** 20 / 3
1e20
1e16
1e15
1e-4
1e-5
123456789012345680.0
0.1 + 0.2
1.0
100.0
1e22
-0.0
1.5e300 * 1e10
1e308 * 10
3.14 | string
1_000
0x1f
0b101
0o17
1_0.5
true + 1
true
True
false
none
None
'a' + 'b'
'a' + 1
'a' * 3
3 * 'ab'
'a' * -1
'a' * 1.5
[1] + [2]
[1] * 2
(1,) + (2,)
[1] + (2,)
[1] - [2]
- 'a'
+ true
-true
- undefined_name
'a' ~ 1 ~ none ~ true ~ 1.0
1 ~ 2 + 3
1 + 2 ~ 3
'a' 'b'
1 == 1.0
1 == true
'1' == 1
[1, 2] == [1, 2]
[1] == (1,)
{'a': 1} == {'a': 1.0}
none == false
'a' < 'b'
'a' < 1
[1, 2] < [1, 3]
(1,) < (1, 2)
1 < 2 < 3
1 < 3 < 2
3 > 2 == 2
1 < 2.5
true < 2
none < 1
'B' < 'a'
'\uffff' < '\U0001f600'
9007199254740993 == 9007199254740992.0
2 in [1, 2]
2 not in [1, 2]
'a' in 'cat'
'' in 'cat'
1 in 'cat'
'a' in d
1 in d.values()
3 in range(5)
not 1 in [1]
not none
1 and 2
0 or 'x'
1 if true else 2
1 if false
(1 if false) is defined
1 if false else 2 if true else 3
'x' if e else 'y'
[1, 'a', none, true, 1.0, 'it\'s', "q\"", '\n\\']
('a',)
(1, 2)
()
1, 2
{'a': 1, 2: [none]}
{'a': 1, 'a': 2}
{1: 'a', 1.0: 'b', true: 'c'}
{[1]: 2}
'\u200b\x1b\xa0\u00e9' | list
[u, '\u0378']
range(3)
range(1, 10, 3)
range(3) | list
range(5, 0, -2) | list
range(0)| list
range(100001) | length
range(100000) | length
range('a')
range(1, 2, 0)
range(2.0)
dict(a=1, b=2)
dict({'a': 1}, b=2)
dict([('a', 1)])
namespace(a=1)
namespace(a=1).a
namespace({'a': 1}).b is defined
cycler('a', 'b').next()
'%s is %d' % ('a', 5)
'%s' % 'a'
'%s' % n
'%s %s' % ('a',)
'%s' % ('a', 'b')
'%d' % 3.7
'%d' % 'x'
'%5d|%-5d|%05d' % (42, 42, 42)
'%+d % d' % (5, 5)
'%.2f' % 2.675
'%.0f' % 0.5
'%.0f' % 1.5
'%8.3f|' % 3.14159
'%e' % 12345.678
'%g' % 1e10
'%g' % 0.0001
'%G' % 1e-10
'%x %X %o' % (255, 255, 8)
'%#x' % 255
'%r' % 'a'
'%c' % 65
'%%'  % ()
'%(a)s' % {'a': 1}
'%(b)s' % {'a': 1}
'abc' % ()
'abc' % {}
'abc' % 1
'%5s|%-5s|' % ('a', 'b')
'%.1s' % 'abc'
'%*d' % (5, 3)
'%z' % 1
'%s' % [1, 2]
'%s' | format('a')
'%s %s' | format('a', 1)
'%(x)s' | format(x=1)
'%s' | format(x=1)
'{} {}'.format('a', 1)
'{1} {0}'.format('a', 'b')
'{x}'.format(x=1)
'{0.role}'.format(m[0])
'{0[role]}'.format(m[0])
'{:>5}|{:<5}|{:^5}|'.format('a', 'b', 'c')
'{:*^7}'.format('ab')
'{:05d}'.format(42)
'{:,}'.format(1234567)
'{:.2f}'.format(3.14159)
'{:.1%}'.format(0.256)
'{:x}'.format(255)
'{:e}'.format(1.5)
'{:8.3f}|'.format(2.5)
'{!r}'.format('a')
'{}'.format()
'{{}}'.format()
'{'.format()
'{:d}'.format('a')
'{:s}'.format('a')
'{:.2}'.format('abc')
'a {} b'.format(none)
'{:10}'.format(3.5)
'{:+}'.format(3)
1 is number
true is number
1.0 is integer
true is integer
1 is integer
1.5 is float
'a' is string
m is sequence
d is sequence
'a' is sequence
d is mapping
m is mapping
m is iterable
5 is iterable
d.items() is sequence
range(3) is sequence
none is none
n is not none
x is defined
undefined_name is not defined
undefined_name is undefined
4 is even
5 is odd
4 is divisibleby 2
4 is divisibleby(3)
4.5 is even
'a' is even
'abc' is lower
'ABC' is upper
1 is in [1, 2]
'a' is in 'cat'
true is sameas true
1 is sameas true
none is sameas none
1 is eq 1
1 is ne(2)
2 is gt 1
2 is ge 3
2 is lt 3
1 is boolean
false is boolean
true is true
1 is true
0 is false
range is callable
5 is callable
'upper' is filter
'nofilter' is filter
'even' is test
x is nosuchtest
l | first
[] | first
e | first
l | last
'abc' | last
l | max
l | min
words | max
words | min(case_sensitive=true)
m[1:] | max(attribute='n')
[] | max
l | sum
[0.1, 0.2, 0.3] | sum
m[1:] | sum(attribute='n')
l | sum(start=10)
['a'] | sum
l | reverse | list
'abc' | reverse
l | reverse
u | reverse
l | length
n | length
5 | length
u | list
l | list
l | string
d | string
1.0 | string
'abc' | string
-5 | abs
-5.5 | abs
'a' | abs
l | batch(2) | list
l | batch(2, 'x') | list
[1, 2, 3, 4, 5] | slice(2) | list
[1, 2, 3, 4, 5] | slice(3, 'x') | list
m | groupby('role')
m | groupby('role') | map('first') | list
'a\nb\n\nc' | indent
'a\nb\n\nc' | indent(2)
'a\nb\n\nc' | indent(2, true)
'a\nb\n\nc' | indent(2, blank=true)
'a\nb' | indent('>')
'a\nb\n' | indent(1) ~ '|'
5 | indent
'foo bar baz qux' | truncate(9)
'foo bar baz qux' | truncate(9, true)
'foo bar baz qux' | truncate(11)
'foo bar baz qux' | truncate(9, end='!', leeway=0)
'one two' | wordcount
'<a>&"\'' | escape
'<a>' | e
'<a>' | safe
'<a>' | safe | length
('<a>' | safe) ~ '<b>'
('<a>' | e) + '<b>'
'<b>' + ('<a>' | safe) + '"'
('<a>' | safe | trim) + '<b>'
('<a>' | safe | lower) + '<b>'
('<a>' | safe) == '<a>'
('<a>' | safe) in ['<a>']
('<a>' | safe) + 1
{'a': none}['a'] is none
{'a': none}.get('a', 'x')
{'a': none} | attr('a') is defined
{'a': none}.a.b
{'a': {'b': none}}.a.b | string
[{'a': none}] | map(attribute='a', default='x') | list
'{0.a}'.format({'a': none})
(none, 1)[0] is none
[none] | first
[none, 1] | last
{% set ns = namespace(a=none) %}{{ ns.a }}{{ ns.a is none }}{{ ns['a'] }}
{% set ns = namespace() %}{% set ns.a = none %}{{ ns.a is none }}
{% macro p(a=1) %}{{ a }}{% endmacro %}{{ p(none) }}{{ p(a=none) }}{{ p() }}
{% macro p(a) %}{{ a is none }}{{ a is defined }}{% endmacro %}{{ p(none) }}{{ p(a=none) }}{{ p() }}
{% macro p() %}{{ caller is none }}{% endmacro %}{{ p(caller=none) }}
{% for a in [none, none] %}{{ loop.previtem is none }}{{ loop.previtem is defined }}{{ loop.nextitem is none }};{% endfor %}
{% for a in [1, 2] %}{{ loop.cycle(none, 1) }}{% endfor %}
{% set c = cycler(none, 1) %}{{ c.current }}{{ c.next() }}{{ c.next() }}
{% set a, b = (none, 1) %}{{ a }}{{ b }}
{% with a = none %}{{ a is none }}{% endwith %}
{% set n = none %}{% if true %}{{ n is none }}{% endif %}
{% for k, v in {'a': none}.items() %}{{ k }}{{ v }}{% endfor %}
{{ [none] | batch(2, 1) | list }}
d[:]
d[1:] is defined
f[1:]
words['a':]
words[l:]
words[none:1.5]
nowhere[:1]
(e % nowhere) ~ '|'
('a' % nowhere) ~ '|'
'a' % l
'a' % range(3)
'a' % s
('<a>' | e) | list
namespace(nowhere)
dict(nowhere)
('a,b' | safe).split('x')
'a,b'.split(',' | safe)
('<a>' | safe) | tojson
[('<a>' | safe)] | tojson
l | truncate
l | truncate(2, leeway=0)
{} | truncate | list
5 | truncate
nowhere is callable
loop is callable
'a\nb'.splitlines(l)
'a\nb'.splitlines(1)
d.keys() - l
{% filter length %}ab{% endfilter %}
{% filter first %}{% endfilter %}
{% filter safe %}ab{% endfilter %}
{% set q | length %}ab{% endset %}{{ q + 1 }}
{% for a in l %}{% break %}{% else %}e{% endfor %}
{% for a in l %}{% continue %}{% else %}e{% endfor %}
{% for a in l %}{% if a == 1 %}{% break %}{% endif %}{% else %}e{% endfor %}
{% for a in l %}{% if a == 3 %}{% continue %}{% endif %}{% else %}e{% endfor %}
(l | items) is defined
l | items | list
d | items | first
d | items | tojson
l | sort(reverse=[])
l | sort(reverse=1)
l | sort(reverse='')
none | select | list
none | map('upper') | list
false | selectattr('a') | list
'' | reject | list
0 | rejectattr('a') | list
1 | map('upper') | list
'<a>' | e | upper
'<a>' | forceescape
'<b>x</b>' | striptags
'a b' | urlencode
'abc' | wordwrap(2)
[1] | pprint
1024 | filesizeformat
{'a': 1} | xmlattr
[1] | random is defined
'http://x.y' | urlize
m[0] | attr('role') is defined
'abc' | attr('upper') is defined
'a' | nofilter
5 | float | round | int
s | trim | upper | replace('O', '0') | length
(s | trim).split(', ')[1]
strftime_now('%Y-%m-%d')
strftime_now('%d %b %Y')
strftime_now('%A, %B %d, %Y %H:%M:%S %p %I %y %j')
strftime_now('%A, %B %d, %Y %H:%M:%S %p %I %y %a %m %%')
strftime_now('%-d %-m')
strftime_now()
raise_exception('no')
raise_exception()
loop
self
caller
5()
'a'()
m[0].role()
d.a.0
d['a'][0]
-1 | abs
(-1) | abs
-i | abs
- i + 3
2 * i ** 2
i is defined and i > 5
i is not defined or i
'a' in words and 'b' in words
l | length > 2
l|length - 1
not l | length == 3
'a' ~ l | length
[1, 2, 3,]
{'a': 1,}
(1)
l[0:2] | join(',')
l[-2:][0]
"\x41\u00e9\101\t|\q|\'"
'\U0001F600' | length
'a\
b'
'tab	x'
""
''
'{{ x }}'
'{% if %}'
1 if
1 +
(1
[1, 2
{1: 2
'abc
1 ? 2
a b
!true
m[
d.
l | 
x is
{{ 'a' }}{# c #}{{ 'b' }}
{{- 'a' -}}  b
a  {{- 'x' }}
a  {{+ 'x' }}
a {%- if t %} b {%- endif %} c
a {%- if t -%} b {%- endif -%} c
{% raw %}{{ x }}{% if %}{% endraw %}
{%- raw -%}  a  {%- endraw -%}  b
{{ {'a': {'b': 1}}['a']['b'] }}
{{ {'a': 1}.a }}
{{{'a': 1}}}
{{ '}}' }}
{{ "%}" }}
{% if '%}' %}x{% endif %}
{% if t %}a{% elif f %}b{% else %}c{% endif %}
{% if f %}a{% elif t %}b{% else %}c{% endif %}
{% if f %}a{% else %}c{% endif %}
{% if t, f %}a{% endif %}
{% if t %}a
{% endif %}
{% for a in l %}{{ a }}{% endfor %}
{% for a in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}
{% for a in l %}{{ loop.previtem }}<{{ a }}>{{ loop.nextitem }} {% endfor %}
{% for a in l %}{{ loop.cycle('x', 'y') }}{% endfor %}
{% for a in [1, 1, 2] %}{{ loop.changed(a) }}{% endfor %}
{% for a in l %}{{ loop.depth }}{{ loop.nosuch }}{% endfor %}
{% for a in l if a > 1 %}{{ a }}{{ loop.length }}{% else %}none{% endfor %}
{% for a in l if a > 9 %}{{ a }}{% else %}none{% endfor %}
{% for a in [] %}{{ a }}{% else %}none{% endfor %}
{% for a in n %}{{ a }}{% endfor %}
{% for a in undefined_name %}{{ a }}{% else %}none{% endfor %}
{% for a in 5 %}{{ a }}{% endfor %}
{% for a in 'abc' %}{{ a }}.{% endfor %}
{% for k in d %}{{ k }}{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
{% for k, v in d | items %}{{ k }}={{ v }};{% endfor %}
{% for k, v in d | dictsort %}{{ k }};{% endfor %}
{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }};{% endfor %}
{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}
{% for a in 1, 2 %}{{ a }}{% endfor %}
{% for a in l %}{% if a == 1 %}{% continue %}{% endif %}{{ a }}{% endfor %}
{% for a in l %}{% if a == 1 %}{% break %}{% endif %}{{ a }}{% else %}none{% endfor %}
{% break %}
{% for a in l %}{% endfor %}{{ a }}
{% for a in l %}{% set b = a %}{% endfor %}{{ b }}
{% set b = 0 %}{% for a in l %}{{ b }}{% set b = a %}{% endfor %}{{ b }}
{% set ns = namespace(b=0) %}{% for a in l %}{% set ns.b = ns.b + a %}{% endfor %}{{ ns.b }}
{% set ns = namespace() %}{% set ns.found = false %}{{ ns.found }}{{ ns.nosuch }}
{% set d.x = 1 %}
{% set nosuch.x = 1 %}
{% set a, b = 1, 2 %}{{ a }}{{ b }}
{% set a, b = [1] %}
{% set a = 1, 2 %}{{ a }}
{% set a %}x{{ i }}y{% endset %}{{ a }}
{% set a | upper %}x{{ i }}y{% endset %}{{ a }}
{% set a | upper | replace('X', 'z') %}x{% endset %}{{ a }}
{% if t %}{% set a = 1 %}{% endif %}{{ a }}
{% if f %}{% set a = 1 %}{% endif %}{{ a }}
{% set true = 1 %}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a }}
{% with i = 1, b = i %}{{ b }}{% endwith %}
{% macro p(a, b='x') %}[{{ a }}{{ b }}]{% endmacro %}{{ p(1) }}{{ p(1, 2) }}{{ p(b=3, a=4) }}{{ p() }}
{% macro p(a) %}{{ a }}{% endmacro %}{{ p(1, 2) }}
{% macro p(a) %}{{ a }}{% endmacro %}{{ p(1, c=2) }}
{% macro p(a) %}{{ a }}{% endmacro %}{{ p(1, a=2) }}
{% macro p(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ p(1, 2, 3, c=4) }}
{% macro p(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ p(1) }}
{% macro p(a=1, b) %}{% endmacro %}
{% macro p() %}{{ i }}{% set i = 2 %}{{ i }}{% endmacro %}{{ p() }}{{ i }}
{% macro p() %}{{ q }}{% endmacro %}{% set q = 5 %}{{ p() }}
{% macro p(x) %}{% if x > 0 %}{{ x }}{{ p(x - 1) }}{% endif %}{% endmacro %}{{ p(3) }}
{% macro p() %} a {% endmacro %}{{ p() | trim }}|{{ p() | length }}
{% macro p() %}{{ caller() }}!{% endmacro %}{% call p() %}x{% endcall %}
{% macro p() %}{{ caller(1, 2) }}!{% endmacro %}{% call(a, b) p() %}{{ a }}{{ b }}{% endcall %}
{% macro p() %}a{% endmacro %}{% call p() %}x{% endcall %}
{% macro p() %}{{ caller }}{% endmacro %}{{ p() }}
{{ p }}{% macro p() %}a{% endmacro %}
{% macro p() %}a{% endmacro %}{{ p is defined }}{{ p is callable }}{{ p.name }}
{% macro p(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ p(*[1, 2]) }}{{ p(**{'a': 3, 'b': 4}) }}{{ p(*[5], b=6) }}
{% filter upper %}a{{ i }}b{% endfilter %}
{% filter replace('a', 'b') | upper %}aa{% endfilter %}
{% for a in [[1, [2]], [3]] recursive %}{% if a is iterable %}({{ loop(a) }}){% else %}{{ a }}{{ loop.depth }}{% endif %}{% endfor %}
{% for a in l %}{{ loop(l) }}{% endfor %}
{% generation %}a{{ i }}{% endgeneration %}
{% generation %}{% set q = 1 %}{% endgeneration %}{{ q }}
{% print i %}
{% include 'x' %}
{% import 'x' as y %}
{% from 'x' import y %}
{% extends 'x' %}
{% block a %}b{% endblock %}
{% autoescape true %}{{ '<' }}{% endautoescape %}
{% do l.append(1) %}
{% trans %}a{% endtrans %}
{% nosuch %}
{% endif %}
{% if %}{% endif %}
{% for %}{% endfor %}
{% if t %}
{% raw %}
{# a
{% set %}
{% if f %}{{ 1 | nofilter }}{% endif %}ok
{% if f %}{{ 1 is nosuchtest }}{% endif %}ok
{{ 1 | nofilter if f else 2 }}
{{ x }}}
{{ x }
{ { x } }
{% for a in range(3) -%} {{ a }} {%- endfor %}
{% set j = joiner('|') %}{% for a in l %}{{ j() }}{{ a }}{% endfor %}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}
{{ m | map(attribute='content') | map('upper') | join(', ') }}
{{ messages | default([]) | length }}
{% set x = x | default(1) %}{{ x }}
{{ (m | selectattr('role', 'equalto', 'system') | list)[0].content }}
{{ m[::-1] | map(attribute='role') | join(',') }}
{% for x in m[1:] %}{{ x.role }}{% endfor %}
{{ m[0].content.split('kind')[0].strip() }}
{{ 'content' in m[0] }}{{ 'nosuch' in m[0] }}
{{ m[0].get('nosuch', {}).get('x', 'y') }}
{{ m | length }}{{ m | count }}
{{ loop is defined }}
{{ ('a', 'b') | join }}
{{ {'a': 1} | length }}
{{ l[i - 6] }}
{{ 'é' ~ '😀' }}
{{ "a" if "b" in "abc" and not "z" in "abc" else "c" }}
{{ 10 // 3 * 3 + 10 % 3 }}
{{ (1, 2) + (3,) }}
{{ l is sameas l }}
{{ ns is defined }}
""".strip("\n").split("\n")

WHITESPACE = [
    "a\n{% if t %}\nb\n{% endif %}\nc\n",
    "a\n  {% if t %}  \n  b\n  {% endif %}\nc",
    "  {% if t %}\nb{% endif %}\n",
    "a {% if t %}\nb\n{% endif %} c\n\n",
    "{% if t +%}\nb{% endif %}",
    "  {%+ if t %}b{% endif %}",
    "a\n  {# comment #}\nb",
    "a\n  {#- comment -#}\n  b",
    "a {# x #}\nb",
    "a\n  {{ i }}\nb\n",
    "a\n  {{- i -}}\n  b\n",
    "{{ i }}\n\n{{ i }}\n",
    "\n{{ i }}",
    "{% for a in l %}\n  {{ a }}\n{% endfor %}\n",
    "{%- for a in l -%}\n  {{ a }}\n{%- endfor -%}\n",
    "a\r\n{% if t %}\r\nb\r\n{% endif %}\r\nc\r\n",
    "a\r{% if t %}\rb\r{% endif %}\rc",
    "{% for m in m %}\r\n{{ m.role }}: {{ m.content }}<|eot_id|>\r\n{% endfor %}\r\n{% if t %}\r\nassistant: {% endif %}\r\n",
    "{{ 'a\r\nb' | length }}",
    "{% raw %}\n a\n{% endraw %}\nb",
    "  {% raw %} {{ a }} {% endraw %}  \nb",
    "a\n\t {% set q = 1 %}\nb",
    "a\u00a0{%- if t %}b{% endif %}",
    "a\n\u00a0{% if t %}b{% endif %}",
    "{% if t %}\n\n\nb{% endif %}",
    "{% if t -%}\n\n\nb{% endif %}",
    "{#\n multi\n line\n#}\nb",
    "{% set x = 1 %}\n{% set y = 2 %}\n{{ x }}{{ y }}",
    "a{% if t %}{% endif %}\n{% if t %}{% endif %}\nb",
    "\ufeff{{ i }}",
    "{{ i }}\n ",
    "{% macro p() %}\n a\n{% endmacro %}\n{{ p() }}",
    "{% set a %}\n a\n{% endset %}\n{{ a }}",
    "x\n{% generation %}\n a\n{% endgeneration %}\nb",
]


def expression_cases():
    cases = []
    for line in EXPRESSIONS:
        source = line if "{%" in line[:2] or "{{" in line or "{#" in line else "{{ " + line + " }}"
        cases.append({"template": source, **render(source, VARIABLES)})
    return cases + [{"template": source, **render(source, VARIABLES)} for source in WHITESPACE]


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather \u2600 of a \"place\".",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "description": "a town, <b>any</b>"},
                    "days": {"type": "integer", "enum": [1, 2, 3]},
                },
                "required": ["place"],
            },
        },
    }
]

USER = {"role": "user", "content": "Hi"}
BOT = {"role": "assistant", "content": "Hello there."}
CONVERSATIONS = {
    "one": {"messages": [USER]},
    "turns": {"messages": [USER, BOT, {"role": "user", "content": "  And \u4e16\u754c \U0001f600?\n"}]},
    "system": {"messages": [{"role": "system", "content": "Be kind."}, USER, BOT, USER]},
    "empty": {"messages": [{"role": "system", "content": ""}, {"role": "user", "content": ""}, BOT, USER]},
    "answered": {"messages": [USER, BOT], "add_generation_prompt": False},
    "wrong order": {"messages": [BOT, USER, USER]},
    "thought": {
        "messages": [USER, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello."}, USER],
    },
    "no thinking": {"messages": [USER], "enable_thinking": False, "thinking": False},
    "thinking": {"messages": [USER], "enable_thinking": True, "thinking": True},
    "tools": {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "type": "function",
                        "id": "abcdef123",
                        "function": {"name": "get_weather", "arguments": {"place": "K\u00f6ln", "days": 2}},
                    }
                ],
            },
            {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": '{"rain": true}'},
        ],
        "tools": TOOLS,
    },
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
}
STANDARD = {
    "add_generation_prompt": True,
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "tools": None,
    "documents": None,
}


def template_cases():
    cases = []
    for path in sorted(FOLDER.glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        for name, variables in CONVERSATIONS.items():
            result = render(source, {**STANDARD, **variables})
            cases.append({"file": path.name, "conversation": name, **result})
    return cases


def write(name, data):
    text = json.dumps(data, ensure_ascii=True, indent=1)
    (FOLDER / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    now = NOW.isoformat()
    write("expressions.golden.json", {"now": now, "variables": VARIABLES, "cases": expression_cases()})
    write(
        "templates.golden.json",
        {"now": now, "standard": STANDARD, "conversations": CONVERSATIONS, "cases": template_cases()},
    )
