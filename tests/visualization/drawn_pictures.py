"""Small pictures that show every way of drawing, for comparison with those in ``references``."""

import numpy as np
import torch


def ramp(height=72, width=96):
    """A background: red grows to the right, green downwards."""
    image = np.full((height, width, 3), 60, np.uint8)
    image[..., 0] = np.linspace(0, 120, width, dtype=np.uint8)
    image[..., 1] = np.linspace(0, 120, height, dtype=np.uint8)[:, None]
    return image


def boxes(visualizer):
    visualizer.set_image(ramp())
    visualizer.draw_bboxes(np.array([8, 8, 40, 32]))
    visualizer.draw_bboxes(
        torch.tensor([[30, 20, 70, 60], [60, 6, 90, 30]]),
        edge_colors=["r", (255, 255, 0)],
        face_colors=["none", (0, 0, 255)],
        line_styles=["-", "--"],
        line_widths=[1, 2],
        alpha=0.7,
    )
    return visualizer.get_image()


def polygons(visualizer):
    visualizer.set_image(ramp())
    visualizer.draw_polygons(np.array([[10, 10], [50, 14], [30, 60]]), edge_colors="w", face_colors=(255, 0, 0))
    star = torch.tensor([[70.0, 8.0], [76.0, 40.0], [92.0, 60.0], [60.0, 50.0]])
    visualizer.draw_polygons([star], edge_colors=(255, 255, 255), face_colors="c", alpha=0.4)
    return visualizer.get_image()


def lines(visualizer):
    visualizer.set_image(ramp())
    visualizer.draw_lines(np.array([5, 90]), np.array([5, 60]), colors="y", line_widths=3)
    visualizer.draw_lines(
        torch.tensor([[10, 80], [48, 48]]),
        torch.tensor([[60, 60], [4, 68]]),
        colors=["w", (255, 0, 255)],
        line_styles=["-", ":"],
        line_widths=[1, 2],
    )
    visualizer.draw_points(np.array([[20, 20], [70, 20]]), colors=["r", (0, 255, 255)], sizes=np.array([30, 60]))
    visualizer.draw_points(torch.tensor([50, 40]), colors="w", marker="*")
    visualizer.draw_circles(np.array([70, 45]), np.array([12]), face_colors="b", alpha=0.5)
    visualizer.draw_circles(
        np.array([[20, 50], [40, 50]]), np.array([8, 14]), edge_colors=["r", (255, 255, 255)], line_widths=[1, 2]
    )
    return visualizer.get_image()


def texts(visualizer):
    visualizer.set_image(ramp(96, 160))
    visualizer.draw_texts("cat 0.91", np.array([8, 8]), colors="w")
    visualizer.draw_texts(
        ["left", "right"],
        torch.tensor([[80, 60], [80, 84]]),
        font_sizes=[9, 12],
        colors=["y", (0, 255, 255)],
        vertical_alignments="bottom",
        horizontal_alignments=["right", "left"],
        font_families="monospace",
        bboxes={"facecolor": "black", "alpha": 0.6, "pad": 1, "edgecolor": "none"},
    )
    return visualizer.get_image()


def masks(visualizer):
    visualizer.set_image(ramp())
    y, x = np.mgrid[:72, :96]
    disc = (x - 40) ** 2 + (y - 36) ** 2 < 26**2
    band = torch.from_numpy((x + y > 90) & (x + y < 120))
    visualizer.draw_binary_masks(disc, colors=(255, 140, 0), alphas=0.6)
    visualizer.draw_binary_masks(torch.stack([band, torch.from_numpy(y < 8)]), colors=["c", "w"], alphas=[0.5, 0.9])
    visualizer.draw_bboxes(np.array([14, 10, 66, 62]), edge_colors="w", line_widths=1)
    return visualizer.get_image()


def maps():
    """A feature map of 6 channels, waves of growing frequency and height."""
    y, x = torch.meshgrid(torch.linspace(0, 3, 24), torch.linspace(0, 4, 32), indexing="ij")
    return torch.stack([(k + 1) * (1 + torch.sin(x * (k + 1)) * torch.cos(y * (k + 1))) for k in range(6)])


def heat(visualizer):
    return visualizer.draw_featmap(maps(), ramp(24, 32), resize_shape=(72, 96))


def grid(visualizer):
    return visualizer.draw_featmap(maps(), channel_reduction=None, topk=2, arrangement=(2, 1), resize_shape=(36, 96))


PICTURES = (boxes, polygons, lines, texts, masks, heat, grid)
