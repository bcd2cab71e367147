"""Lists the public API: every type, trait and function, and first how many there are.

What is hidden from the documentation is not part of it. `.ci/steps/85-api` has the command.
"""

import json,sys
d=json.load(open(sys.argv[1])); idx=d['index']; root=d['root']
types=set(); funcs=set(); seen=set(); lines=set()
def vis(i): return i['visibility']=='public'
def methods(tid,path):
    it=idx[tid]; inner=next(iter(it['inner'].values()))
    for im in inner.get('impls',[]):
        im=idx.get(str(im)) or idx.get(im)
        if not im: continue
        imp=im['inner']['impl']
        if imp.get('trait') is not None or imp.get('is_synthetic') or imp.get('blanket_impl'): continue
        for m in imp['items']:
            m=idx[str(m)]
            if 'function' in m['inner'] and vis(m): funcs.add(m['id']); lines.add(f"fn {path}::{m['name']}")
def walk(mid,path):
    for c in idx[str(mid)]['inner']['module']['items']:
        c=idx.get(str(c))
        if c is None or not vis(c) and 'use' not in c['inner']: continue
        item(c,path,None)
def item(c,path,alias):
    k=next(iter(c['inner'])); name=alias or c['name']
    if k=='use':
        if not vis(c): return
        u=c['inner']['use']; t=idx.get(str(u['id']))
        if t is None: return
        if u.get('is_glob'): walk(t['id'],path)
        elif next(iter(t['inner']))=='module': 
            if (t['id'],path) not in seen: seen.add((t['id'],path)); walk(t['id'],path+'::'+u['name'])
        else: item(t,path,u['name'])
        return
    p=path+'::'+(name or '')
    if k=='module':
        walk(c['id'],p); return
    if c['id'] in seen: return
    seen.add(c['id'])
    if k in('struct','enum','union'):
        types.add(c['id']); lines.add(f"{k} {p}"); methods(str(c['id']),p)
    elif k=='trait':
        types.add(c['id']); lines.add(f"trait {p}")
        for m in c['inner']['trait']['items']:
            m=idx[str(m)]
            if 'function' in m['inner']: funcs.add(m['id']); lines.add(f"fn {p}::{m['name']}")
    elif k in('type_alias',): types.add(c['id']); lines.add(f"type {p}")
    elif k=='function': funcs.add(c['id']); lines.add(f"fn {p}")
    elif k in('constant','static','macro'): lines.add(f"{k} {p}")
walk(root,d['index'][str(root)]['name'])
print(f"# {len(types)} types, {len(funcs)} functions")
for l in sorted(lines,key=lambda l:(l.split(' ')[1],l)): print(l)
