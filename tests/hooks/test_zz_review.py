import sys; sys.path.insert(0,'/work/main')
import os, glob, pytest, torch, time
from tests.hooks.guard_runs import *
from trainwright.runner.replay import replay_config, replay_step
from trainwright.base.errors import NonFiniteLossError
TOK_E={"by_epoch":True,"max_duration":"%d tok","tokens":lambda b: len(b["label"])}
@LOOPS
@pytest.mark.parametrize("policy",["stop","skip","rollback"])
def test_first_of_epoch(tmp_path, train_cfg, policy):
    r=make(tmp_path/"a", Poison(4), guard={"policy":policy}, train_cfg=train_cfg)
    try: r.train()
    except NonFiniteLossError as e: print(e)
    sd=tmp_path/"a"/"bad_steps"/"iter_4"
    assert sd.exists()
    tree=torch.load(sd/"state.pth",weights_only=True); print(tree["meta"]["iter"],tree["meta"].get("epoch"),{k:v for k,v in tree["meta"].items() if k not in("cfg",)})
    r2=make(tmp_path/"b", Poison(4), guard={"policy":policy}, train_cfg=train_cfg)
    rep=replay_step(r2, sd)
    assert rep.reproduced, rep.differences
    print(rep.notes)
    # resume from state.pth equals plain
    full=trained(tmp_path/"full",train_cfg=train_cfg)[1]
    r3=make(tmp_path/"c", train_cfg=train_cfg, load_from=str(sd/"state.pth"), resume=True); r3.train()
    assert not differences(full, state(r3))

@pytest.mark.parametrize("by_epoch",[True,False])
@pytest.mark.parametrize("n",[36,32,40])
@pytest.mark.parametrize("at",[5,8,7])
@pytest.mark.parametrize("policy",["stop","skip","rollback"])
def test_tokens(tmp_path, by_epoch, n, at, policy):
    cfg={"by_epoch":by_epoch,"max_duration":f"{n} tok","tokens":lambda b: len(b["label"])}
    r=make(tmp_path/"a", Poison(at), guard={"policy":policy}, log=100, train_cfg=cfg)
    try: r.train()
    except NonFiniteLossError as e:
        print(e); assert policy=="stop"; assert at < n//4; return
    print(r.iter, sorted(os.listdir(tmp_path/"a")))
    assert r.iter==n//4
    assert guard_of(r).skipped=={at} or at>=n//4
    last=(tmp_path/"a"/"last_checkpoint").read_text()
    t=torch.load(tmp_path/"a"/last,weights_only=True)
    assert t["meta"]["iter"]==n//4
    assert r.train_loop._saved_at
    # validations
    print(r.ctx.clock.max_epochs)

@pytest.mark.parametrize("by_epoch",[True,False])
@pytest.mark.parametrize("policy",["stop","skip","rollback"])
def test_time(tmp_path, by_epoch, policy):
    class Slow(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None): time.sleep(0.02)
    cfg={"by_epoch":by_epoch,"max_duration":"0.5 s"}
    r=make(tmp_path/"a", Poison(6), Slow(), guard={"policy":policy}, log=1000, train_cfg=cfg)
    try: r.train()
    except NonFiniteLossError as e:
        print(e); assert policy=="stop"; return
    print("ended",r.iter, sorted(os.listdir(tmp_path/"a")), guard_of(r).events)
    last=(tmp_path/"a"/"last_checkpoint").read_text()
    t=torch.load(tmp_path/"a"/last,weights_only=True)
    assert t["meta"]["iter"]==r.iter
    assert policy!="stop"
