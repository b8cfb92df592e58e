name, version, number = 'net', 3, 3.14159
simple = f'{name}_v{version}'
formatted = f'{number:.2f}|{version:03d}|{name:>6}|{name!r}|{version:{version}d}'
braces = f'{{not}} {{{name}}} }}{{'
expression = f'{version + 1} {name.upper()} {[i for i in range(2)]} {dict(a=1)["a"]}'
self_documenting = f'{version=}'
multiline = f"""
{name}
    {version}
"""
mixed = 'plain ' f'{name}' " and " rf'\d{version}'
nested = f'{f"{name}"}'
old = '%s/%d' % (name, version)
formats = '{}/{name}/{0}'.format(version, name=name) if False else '{}-{name}'.format(version, name=name)
percent = '100%'
template_like = ['{question}', '{{question}}', '{{ question }}', '{% raw %}', '${VAR}', '{{', '}}', '{{}}', '{{ a.b }}', '{{ $ }}', '{{ $X }}', "{{'x'}}"]
