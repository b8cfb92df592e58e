from trainwright.state import StopAt, StopFlag


def test_nothing_is_asked_for_at_first():
    stop = StopFlag()
    assert (stop.requested, stop.now, stop.interrupts, stop.reason) == (False, False, False, "")


def test_an_epoch_request_does_not_end_an_iteration():
    stop = StopFlag()
    stop.request("patience is over", StopAt.EPOCH)
    assert (stop.requested, stop.now) == (True, False)


def test_the_nearer_boundary_wins_in_either_order_with_its_reason():
    for order in ([StopAt.EPOCH, StopAt.ITERATION], [StopAt.ITERATION, StopAt.EPOCH]):
        stop = StopFlag()
        for at in order:
            stop.request(at.name, at)
        assert stop.at is StopAt.ITERATION
        assert stop.reason == "ITERATION"
        assert stop.now


def test_the_first_reason_of_one_boundary_is_kept():
    stop = StopFlag()
    stop.request("first")
    stop.request("second")
    assert stop.reason == "first"


def test_interrupts_stays_once_somebody_asked_for_it():
    stop = StopFlag()
    stop.request("Ctrl-C", interrupts=True)
    stop.request("done")
    assert stop.interrupts


def test_an_interrupt_waits_until_the_state_is_whole():
    stop, whole = StopFlag(), [False]
    stop.may_interrupt = lambda: whole[0]
    stop.request("Ctrl-C", interrupts=True)
    assert (stop.requested, stop.now) == (True, False)
    whole[0] = True
    assert stop.now


def test_only_interrupts_wait():
    stop = StopFlag()
    stop.may_interrupt = lambda: False
    stop.request("enough")
    assert stop.now


def test_clear_forgets_the_request_and_keeps_the_gate():
    stop = StopFlag()
    stop.may_interrupt = lambda: False
    stop.request("Ctrl-C", interrupts=True)
    stop.clear()
    assert (stop.at, stop.reason, stop.interrupts, stop.requested) == (None, "", False, False)
    stop.request("Ctrl-C", interrupts=True)
    assert not stop.now


def test_a_run_that_is_saved_and_returns():
    stop = StopFlag()
    stop.request("time is over", interrupts=True, returns=True)
    assert (stop.now, stop.interrupts, stop.returns) == (True, True, True)
    stop.clear()
    assert (stop.requested, stop.interrupts, stop.returns) == (False, False, False)


def test_it_does_not_return_where_somebody_interrupts_it_too():
    for order in ([True, False], [False, True]):
        stop = StopFlag()
        for returns in order:
            stop.request("x", interrupts=True, returns=returns)
        assert (stop.interrupts, stop.returns) == (True, False)


def test_a_stop_that_is_not_saved_does_not_return_by_itself():
    stop = StopFlag()
    stop.request("patience is over", StopAt.EPOCH)
    assert not stop.returns
