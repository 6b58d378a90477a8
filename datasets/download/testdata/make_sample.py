"""Writes a small sample in the format of TensorFlow Federated's archive:

    python make_sample.py fed_emnist.tar.bz2
"""
import io
import sys
import tarfile

import h5py
import numpy as np

rng=np.random.default_rng(1)
def make(users, per):
    b=io.BytesIO()
    with h5py.File(b,'w') as f:
        ex=f.create_group('examples')
        for u in range(users):
            g=ex.create_group('f%04d_%02d'%(u*37%4000,u%50))
            n=per+u%2
            px=np.ones((n,28,28),np.float32)
            lab=((np.arange(n)+u)%62).astype(np.int32)
            for i in range(n):
                px[i,4+i:20,6]=0; px[i,6,6:12]=0.25*(u%4)
            g.create_dataset('pixels',data=px); g.create_dataset('label',data=lab)
    return b.getvalue()
out=sys.argv[1]
with tarfile.open(out,'w:bz2') as t:
    for name,users,per in (('fed_emnist_train.h5',24,2),('fed_emnist_test.h5',24,1)):
        raw=make(users,per); ti=tarfile.TarInfo(name); ti.size=len(raw); t.addfile(ti,io.BytesIO(raw))
        print(name,len(raw), raw[:16], raw[8])
